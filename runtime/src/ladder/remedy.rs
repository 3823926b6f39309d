//! The cheapest changes of a pod that let it execute a step, or climb the ladder.

use serde::Serialize;

use super::change::{Change, after};
use super::needs::Needs;
use super::{Choice, Rung};
use crate::capabilities::Capabilities;

/// Changes that together bring a pod to a rung.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Remedy {
    /// The rung.
    pub rung: Rung,
    /// What to change, all of it.
    pub changes: Vec<Change>,
}

/// The cheapest changes for each rung that `choice` allows and that is better than what the pod
/// has, cheapest first. A rung is left out when a better one costs no more.
pub fn remedies(caps: &Capabilities, needs: &Needs, choice: Choice) -> Vec<Remedy> {
    let best = |caps: &Capabilities| {
        let works = |rung: &&Rung| rung.lacks(caps, needs).is_empty();
        choice.rungs().iter().find(works).copied().unwrap_or(Rung::None)
    };
    let mut reached = best(caps);
    let mut found = Vec::new();
    for changes in by_cost() {
        let rung = best(&after(caps, &changes));
        if rung < reached {
            reached = rung;
            found.push(Remedy { rung, changes });
        }
    }
    found
}

/// All sets of changes, cheapest first: the costs are powers of two, so counting is enough.
fn by_cost() -> impl Iterator<Item = Vec<Change>> {
    let all: u32 = Change::ALL.iter().map(|change| change.cost()).sum();
    (1..=all)
        .map(|cost| Change::ALL.into_iter().filter(|change| cost & change.cost() != 0).collect())
}

impl Remedy {
    /// What to do, as a sentence without its end.
    pub fn text(&self) -> String {
        let texts: Vec<&str> = self.changes.iter().map(|change| change.text()).collect();
        texts.join("; ")
    }

    /// The change as part of a pod specification.
    pub fn yaml(&self) -> String {
        let has = |change| self.changes.contains(&change);
        let mut context = Vec::new();
        if has(Change::RunAsRoot) {
            context.extend(["runAsUser: 0", "runAsGroup: 0", "runAsNonRoot: false"]);
        }
        if has(Change::DefaultCapabilities) {
            context.push("capabilities: {}   # without drop: [ALL]");
        }
        if has(Change::SubordinateIds) {
            context.push("allowPrivilegeEscalation: true");
        }
        if has(Change::SeccompUnconfined) {
            context.push("seccompProfile: {type: Unconfined}");
        }
        if has(Change::AppArmorUnconfined) {
            context.push("appArmorProfile: {type: Unconfined}");
        }
        let mut lines = vec!["spec:".to_owned()];
        if has(Change::MoreIds) {
            lines.push("  hostUsers: true".to_owned());
        }
        lines.push("  containers:".to_owned());
        lines.push("  - name: build".to_owned());
        if !context.is_empty() {
            lines.push("    securityContext:".to_owned());
            lines.extend(context.iter().map(|line| format!("      {line}")));
        }
        if has(Change::EmptyDir) {
            lines.push("    env: [{name: LONGSHORE_WORK_DIR, value: /work}]".to_owned());
            lines.push("    volumeMounts: [{name: work, mountPath: /work}]".to_owned());
            lines.push("  volumes: [{name: work, emptyDir: {}}]".to_owned());
        }
        lines.join("\n") + "\n"
    }
}
