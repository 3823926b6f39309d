//! The answer as plain lines, for a terminal and for an issue.

use longshore_runtime::Rung;

use super::diagnosis::{Diagnosis, FileReport};

/// Writes the answer; every line ends.
pub fn text(diagnosis: &Diagnosis) -> String {
    let mut lines = vec![format!("longshore {}", diagnosis.longshore), String::new()];
    lines.extend(pod(diagnosis));
    lines.push(String::new());
    lines.extend(diagnosis.mechanisms.iter().map(|(mechanism, answer)| {
        let name = mechanism.to_string();
        format!("  {name:<28} {answer}")
    }));
    let landlock = diagnosis
        .landlock_abi
        .map_or_else(|| "none".to_owned(), |version| format!("version {version}"));
    lines.push(format!("  {:<28} {landlock}", "Landlock"));
    lines.push(String::new());
    lines.extend(rungs(diagnosis));
    lines.push(String::new());
    lines.push(verdict(diagnosis));
    if let Some(file) = &diagnosis.dockerfile {
        lines.extend(steps(file));
    }
    for climb in &diagnosis.climb {
        lines.extend([String::new(), format!("To get {}: {}.", climb.rung, climb.text)]);
        lines.push(String::new());
        lines.extend(climb.yaml.lines().map(|line| format!("    {line}")));
    }
    lines.join("\n") + "\n"
}

fn pod(diagnosis: &Diagnosis) -> Vec<String> {
    let pod = &diagnosis.pod;
    let or_none = |text: String| if text.is_empty() { "none".to_owned() } else { text };
    let yes = |is: bool, yes: &str, no: &str| if is { yes.to_owned() } else { no.to_owned() };
    let ids = match pod.ids {
        u32::MAX => "all".to_owned(),
        ids => ids.to_string(),
    };
    let mut rows = vec![
        ("user", format!("{} ({ids} ids in the pod)", pod.uid)),
        ("capabilities", or_none(pod.capabilities.to_string())),
        ("privilege escalation", yes(pod.no_new_privileges, "not allowed", "allowed")),
        ("system calls", yes(pod.filtered, "filtered", "not filtered")),
        ("work directory", diagnosis.work_dir.path.display().to_string()),
        ("ids of a user namespace", diagnosis.id_map.to_owned()),
    ];
    if diagnosis.work_dir.unfit {
        rows.push(("", "no overlay can lie on it".to_owned()));
    }
    if diagnosis.work_dir.setgid {
        rows.push(("", "with an fsGroup".to_owned()));
    }
    if let Some(note) = &diagnosis.note {
        rows.push(("note", note.clone()));
    }
    rows.into_iter().map(|(name, value)| format!("  {name:<28} {value}")).collect()
}

fn rungs(diagnosis: &Diagnosis) -> Vec<String> {
    let state = |works: bool, available: bool, reasons: &[String]| match (works, available) {
        (true, true) => "yes".to_owned(),
        (true, false) => "possible here, but not available yet".to_owned(),
        (false, true) => format!("no: {}", reasons.join("; ")),
        (false, false) => format!("no, and not available yet: {}", reasons.join("; ")),
    };
    let rungs = diagnosis.rungs.iter();
    rungs
        .map(|report| {
            let name = report.rung.to_string();
            format!("  {name:<28} {}", state(report.works, report.available, &report.reasons))
        })
        .collect()
}

fn verdict(diagnosis: &Diagnosis) -> String {
    let (rung, runtime) = (diagnosis.rung, diagnosis.runtime);
    match rung {
        Rung::None => format!("RUN cannot be executed here (--runtime {runtime})."),
        rung => format!("RUN is executed on the rung {rung} (--runtime {runtime})."),
    }
}

fn steps(file: &FileReport) -> Vec<String> {
    let path = file.path.display();
    let failing: Vec<_> = file.steps.iter().filter(|step| !step.works).collect();
    if failing.is_empty() {
        return vec![format!("{path}: all of its {} RUN instructions can be.", file.steps.len())];
    }
    let mut lines = vec![format!("{path}: not all of it can be built here.")];
    lines.extend(failing.iter().map(|step| {
        format!("  line {}: {}: {}", step.line, step.instruction, step.reasons.join("; "))
    }));
    lines
}
