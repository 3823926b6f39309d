//! The answer of `longshore doctor`, and its form as JSON.
//!
//! The JSON is one object. Keys are only ever added; `schema` is raised when one changes its
//! meaning. Mechanisms, rungs, lacks and changes are words in kebab-case.
//!
//! | key | value |
//! |---|---|
//! | `schema` | 1 |
//! | `longshore` | the program's version |
//! | `pod` | `uid`; `ids`, how many; `capabilities` and `bounding` sets; `no_new_privileges`; `filtered` |
//! | `work_dir` | `path`; `unfit`: no overlay can lie on it, `setgid`: it has an fsGroup |
//! | `mechanisms` | each with `ok`, an errno, or `not tried` because of another one |
//! | `id_map` | ids of a user namespace: `full`, `helper` (newuidmap), `one`, `no` |
//! | `landlock_abi` | the version of Landlock, or null |
//! | `note` | why ids could not be mapped, or nothing tried; or null |
//! | `runtime` | what was asked for: `auto`, `overlay`, `chroot`, `none` |
//! | `rung` | on which RUN is executed; `none` if it is not |
//! | `rungs` | each with `rung`, `available` in this version, `works`, and what it `lacks` |
//! | `dockerfile` | null, or `path` and `steps`: `line`, `instruction`, `works`, `lacks` |
//! | `climb` | what would help, cheapest first: `rung`, `changes`, `text`, `yaml` |
//! | `possible` | all steps of the file work; without a file, a plain RUN does |

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use longshore_runtime::{
    Capabilities, Change, Choice, Lack, Map, Mechanism, Needs, Privileges, Rung, choose, remedies,
};
use serde::Serialize;

use super::steps::{Step, steps};
use crate::dockerfile::Dockerfile;

/// The whole answer.
#[derive(Clone, Debug, Serialize)]
pub struct Diagnosis {
    /// The version of this form.
    pub schema: u32,
    /// The version of the program.
    pub longshore: &'static str,
    /// What is known without trying.
    pub pod: PodReport,
    /// Where layers are unpacked.
    pub work_dir: WorkReport,
    /// What came of trying each mechanism.
    pub mechanisms: BTreeMap<Mechanism, String>,
    /// Which ids a user namespace can hold.
    pub id_map: &'static str,
    /// The version of Landlock.
    pub landlock_abi: Option<u32>,
    /// Why something could not be tried.
    pub note: Option<String>,
    /// What was asked for.
    pub runtime: Choice,
    /// What RUN is executed on.
    pub rung: Rung,
    /// All rungs, best first.
    pub rungs: Vec<RungReport>,
    /// The file that was named.
    pub dockerfile: Option<FileReport>,
    /// What would help, cheapest first.
    pub climb: Vec<Climb>,
    /// Whether all that was asked about works.
    pub possible: bool,
}

/// What is known of a pod without trying.
#[derive(Clone, Debug, Serialize)]
pub struct PodReport {
    /// The user.
    pub uid: u32,
    /// How many ids there are.
    pub ids: u32,
    /// What the builder may do.
    pub capabilities: Privileges,
    /// What a program may gain.
    pub bounding: Privileges,
    /// No program gains anything.
    pub no_new_privileges: bool,
    /// System calls are filtered.
    pub filtered: bool,
}

/// Where layers are unpacked.
#[derive(Clone, Debug, Serialize)]
pub struct WorkReport {
    /// The directory.
    pub path: PathBuf,
    /// No overlay can lie on it.
    pub unfit: bool,
    /// It has an fsGroup.
    pub setgid: bool,
}

/// One rung.
#[derive(Clone, Debug, Serialize)]
pub struct RungReport {
    /// Its name.
    pub rung: Rung,
    /// This version has it.
    pub available: bool,
    /// The pod has what it needs.
    pub works: bool,
    /// What the pod lacks, as codes.
    pub lacks: Vec<&'static str>,
    /// The same in words.
    #[serde(skip)]
    pub reasons: Vec<String>,
}

/// The steps of a Dockerfile.
#[derive(Clone, Debug, Serialize)]
pub struct FileReport {
    /// The file.
    pub path: PathBuf,
    /// Its RUN instructions.
    pub steps: Vec<StepReport>,
}

/// A RUN instruction.
#[derive(Clone, Debug, Serialize)]
pub struct StepReport {
    /// Where it begins, from 1.
    pub line: usize,
    /// It, on one line.
    pub instruction: String,
    /// It can be executed.
    pub works: bool,
    /// What keeps the pod's best rung from executing it, as codes.
    pub lacks: Vec<&'static str>,
    /// The same in words.
    #[serde(skip)]
    pub reasons: Vec<String>,
}

/// A change that helps.
#[derive(Clone, Debug, Serialize)]
pub struct Climb {
    /// The rung that it gives.
    pub rung: Rung,
    /// What to change.
    pub changes: Vec<Change>,
    /// The same in words.
    pub text: String,
    /// The same as part of a pod specification.
    pub yaml: String,
}

impl Diagnosis {
    /// Judges a pod, and a Dockerfile if there is one.
    pub fn new(
        caps: &Capabilities,
        work_dir: &Path,
        choice: Choice,
        file: Option<(&Path, &Dockerfile)>,
    ) -> Self {
        let rung = choose(caps, &Needs::none(), choice).unwrap_or(Rung::None);
        let judged: Vec<(StepReport, Needs)> = file
            .iter()
            .flat_map(|(_, file)| steps(file))
            .map(|step| (judge(caps, choice, rung, &step), step.needs))
            .collect();
        let needs: Needs = judged.iter().flat_map(|(_, needs)| needs.iter()).collect();
        let dockerfile = file.map(|(path, _)| FileReport {
            path: path.to_owned(),
            steps: judged.into_iter().map(|(report, _)| report).collect(),
        });
        let possible = match &dockerfile {
            Some(file) => file.steps.iter().all(|step| step.works),
            None => rung != Rung::None,
        };
        Self {
            schema: 1,
            longshore: env!("CARGO_PKG_VERSION"),
            pod: pod(caps),
            work_dir: WorkReport {
                path: work_dir.to_owned(),
                unfit: caps.volume.unfit,
                setgid: caps.volume.setgid,
            },
            mechanisms: mechanisms(caps),
            id_map: id_map(caps.map),
            landlock_abi: caps.landlock_abi,
            note: caps.diagnosis.clone(),
            runtime: choice,
            rung,
            rungs: Rung::ALL.into_iter().filter_map(|rung| rung_report(caps, rung)).collect(),
            dockerfile,
            climb: climb(caps, &needs, choice),
            possible,
        }
    }
}

fn judge(caps: &Capabilities, choice: Choice, rung: Rung, step: &Step<'_>) -> StepReport {
    let taken = choose(caps, &step.needs, choice);
    let works = taken.as_ref().is_ok_and(|rung| *rung != Rung::None);
    let lacks = match &taken {
        Ok(_) => Vec::new(),
        Err(_) if rung != Rung::None => rung.lacks(caps, &step.needs),
        Err(refusal) => refusal.lacks.iter().flat_map(|(_, lacks)| lacks).copied().collect(),
    };
    let mut reasons: Vec<String> = lacks.iter().map(Lack::to_string).collect();
    if choice == Choice::None {
        reasons.push("--runtime none executes no steps".to_owned());
    }
    StepReport {
        line: step.line,
        instruction: step.instruction.text.clone(),
        works,
        lacks: lacks.iter().map(|lack| lack.code()).collect(),
        reasons,
    }
}

fn pod(caps: &Capabilities) -> PodReport {
    PodReport {
        uid: caps.uid,
        ids: caps.ids,
        capabilities: caps.effective,
        bounding: caps.bounding,
        no_new_privileges: caps.no_new_privileges,
        filtered: caps.filtered,
    }
}

fn mechanisms(caps: &Capabilities) -> BTreeMap<Mechanism, String> {
    Mechanism::ALL.into_iter().map(|tried| (tried, caps.trial(tried).to_string())).collect()
}

fn id_map(map: Map) -> &'static str {
    match map {
        Map::Full { .. } => "full",
        Map::Helper => "helper",
        Map::One => "one",
        Map::No => "no",
    }
}

/// A rung that executes steps.
fn rung_report(caps: &Capabilities, rung: Rung) -> Option<RungReport> {
    if rung == Rung::None {
        return None;
    }
    let lacks = rung.lacks(caps, &Needs::none());
    Some(RungReport {
        rung,
        available: rung.is_available(),
        works: lacks.is_empty(),
        lacks: lacks.iter().map(|lack| lack.code()).collect(),
        reasons: lacks.iter().map(Lack::to_string).collect(),
    })
}

fn climb(caps: &Capabilities, needs: &Needs, choice: Choice) -> Vec<Climb> {
    remedies(caps, needs, choice)
        .into_iter()
        .map(|remedy| Climb {
            rung: remedy.rung,
            text: remedy.text(),
            yaml: remedy.yaml(),
            changes: remedy.changes,
        })
        .collect()
}
