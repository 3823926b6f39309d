//! Why steps are executed on a lower rung than the best one, and what would help (pure).

use longshore_runtime::{Capabilities, Choice, Needs, Rung, remedies};

use crate::output::Event;

/// What is said where the user left the choice to the program and it is not the best rung.
pub(super) fn descent(caps: &Capabilities, rung: Rung, choice: Choice) -> Option<Event> {
    let needs = Needs::none();
    let above = Rung::ALL.into_iter().take_while(|better| *better != rung);
    let reasons: Vec<String> = above
        .filter(|better| better.is_available())
        .map(|better| {
            let lacks = better.lacks(caps, &needs);
            let lacks: Vec<String> = lacks.iter().map(ToString::to_string).collect();
            format!("{better}: {}", lacks.join(", "))
        })
        .collect();
    if choice != Choice::Auto || reasons.is_empty() {
        return None;
    }
    let climb = remedies(caps, &needs, choice).into_iter().next();
    Some(Event::Descended {
        rung: rung.to_string(),
        reason: reasons.join("; "),
        climb: climb.map(|remedy| remedy.text()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_rung_that_was_not_asked_for_is_explained() {
        let caps = Capabilities::default();
        assert!(descent(&caps, Rung::Chroot, Choice::Chroot).is_none());
        assert!(descent(&caps, Rung::OverlayFull, Choice::Auto).is_none());
        let Some(Event::Descended { rung, reason, .. }) =
            descent(&caps, Rung::Chroot, Choice::Auto)
        else {
            panic!("it says why");
        };
        assert_eq!(rung, "chroot");
        assert!(reason.starts_with("overlay-full: "), "{reason}");
    }
}
