//! Why a pod cannot execute a step, in words.

use super::lacks::Lack;
use super::needs::Needs;
use super::remedy::{Remedy, remedies};
use super::{Choice, Rung, choose};
use crate::capabilities::Capabilities;

/// Why this pod cannot run a step, and what would let it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.text())]
pub struct Refusal {
    /// What each rung that was asked for lacks, best rung first.
    pub lacks: Vec<(Rung, Vec<Lack>)>,
    /// What would help, cheapest first.
    pub remedies: Vec<Remedy>,
    /// The rung that the pod takes for such a step when none is asked for.
    other: Option<Rung>,
    diagnosis: Option<String>,
}

impl Refusal {
    pub(super) fn new(caps: &Capabilities, needs: &Needs, choice: Choice) -> Self {
        let lacks = choice.rungs().iter().map(|rung| (*rung, rung.lacks(caps, needs))).collect();
        let remedies = remedies(caps, needs, choice);
        let other = match choice {
            Choice::Auto => None,
            _ => choose(caps, needs, Choice::Auto).ok(),
        };
        Self { lacks, remedies, other, diagnosis: caps.diagnosis.clone() }
    }

    fn text(&self) -> String {
        let of_rung = |(rung, lacks): &(Rung, Vec<Lack>)| {
            let lacks: Vec<String> = lacks.iter().map(Lack::to_string).collect();
            format!("{rung}: {}", lacks.join(", "))
        };
        let rungs: Vec<String> = self.lacks.iter().map(of_rung).collect();
        let diagnosis =
            self.diagnosis.as_ref().map_or(String::new(), |reason| format!(" [{reason}]"));
        format!("RUN cannot be executed in this pod: {}{diagnosis}", rungs.join("; "))
    }

    /// Returns what would let the step run: another rung, or the changes of the pod specification,
    /// cheapest first.
    pub fn hint(&self) -> String {
        if let Some(rung) = self.other {
            return format!("leave --runtime out: the rung {rung} can do it here");
        }
        if self.remedies.is_empty() {
            return "no change of the pod specification is known to help; longshore doctor says \
                    what was tried"
                .to_owned();
        }
        let lines: Vec<String> = self
            .remedies
            .iter()
            .map(|remedy| format!("for {}: {}", remedy.rung, remedy.text()))
            .collect();
        lines.join("\n")
    }
}
