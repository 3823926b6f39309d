//! Making a failing case small: parts are left out as long as it goes on failing.
//!
//! The shrinker knows nothing of validity. A case that a part was missing from is simply one that
//! the oracle refuses, and that does not count as failing.

use super::case::{Case, Entry, Kind};

/// How often a case may be built again on the way.
const ATTEMPTS: usize = 150;

/// How much of a file's content stays.
const SHORT: usize = 10;

/// Returns the smallest case found for which `fails` holds, as it does for `case`.
pub(crate) fn shrink(case: Case, mut fails: impl FnMut(&Case) -> bool) -> Case {
    let mut smallest = case;
    let mut attempts = 0;
    loop {
        let before = smallest.clone();
        for candidate in smaller(&before) {
            attempts += 1;
            if attempts > ATTEMPTS {
                return smallest;
            }
            // Candidates leave one part out of `before`; what an earlier one has left out since
            // is left out of this one as well when the round starts again.
            if size(&candidate) < size(&smallest) && fails(&candidate) {
                smallest = candidate;
                break;
            }
        }
        if smallest == before {
            return smallest;
        }
    }
}

/// The number of parts.
fn size(case: &Case) -> usize {
    let steps: usize = case.stages.iter().map(|stage| 1 + stage.steps.len()).sum();
    let long = case.entries.iter().filter(|entry| content(entry).len() > SHORT).count();
    case.entries.len() + long + case.ignore.len() + case.arguments.len() + steps
}

fn content(entry: &Entry) -> &str {
    if let Kind::File(_, content) = &entry.kind { content } else { "" }
}

fn shorten(entry: &mut Entry) {
    if let Kind::File(_, content) = &mut entry.kind {
        content.truncate(SHORT);
    }
}

/// Every case that has something less, the largest cuts first.
fn smaller(case: &Case) -> Vec<Case> {
    let mut candidates = Vec::new();
    let mut offer = |cut: &dyn Fn(&mut Case)| {
        let mut candidate = case.clone();
        cut(&mut candidate);
        candidates.push(candidate);
    };
    offer(&|case| case.ignore.clear());
    offer(&|case| case.entries.retain(|entry| !entry.path.contains('/')));
    for at in 0..case.stages.len() {
        offer(&|case| drop(case.stages.remove(at)));
        offer(&|case| {
            let half = case.stages[at].steps.len() / 2;
            case.stages[at].steps.truncate(half);
        });
        for step in 0..case.stages[at].steps.len() {
            offer(&|case| drop(case.stages[at].steps.remove(step)));
        }
    }
    for at in 0..case.entries.len() {
        offer(&|case| drop(case.entries.remove(at)));
    }
    for at in 0..case.ignore.len() {
        offer(&|case| drop(case.ignore.remove(at)));
    }
    offer(&|case| case.arguments.clear());
    offer(&|case| case.entries.iter_mut().for_each(shorten));
    candidates
}

#[test]
fn only_what_makes_it_fail_stays() {
    let case = super::generator::generate(3);
    let last = case.stages.last().expect("a case has a stage").steps[0].clone();
    let shrunk =
        shrink(case, |case| case.stages.last().is_some_and(|stage| stage.steps.contains(&last)));
    assert_eq!((shrunk.stages.len(), shrunk.entries.len(), shrunk.ignore.len()), (1, 0, 0));
    assert_eq!(shrunk.stages[0].steps, [last]);
}
