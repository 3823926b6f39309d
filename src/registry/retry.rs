//! When and after which pause something is tried again; the only place that decides it.
//!
//! Pauses double from a first one, are capped, and are shortened at random by up to half, so that
//! many builders do not come back together. A `Retry-After` (RFC 9110 section 10.2.3) is obeyed up
//! to a minute.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use super::RegistryError;

const LONGEST_PAUSE: Duration = Duration::from_secs(30);
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(60);

/// How often and how patiently to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Schedule {
    pub(super) retries: u32,
    pub(super) first_pause: Duration,
}

/// The attempts of one operation.
#[derive(Debug)]
pub(super) struct Attempts {
    schedule: Schedule,
    failed: u32,
}

impl Schedule {
    pub(super) fn attempts(self) -> Attempts {
        Attempts { schedule: self, failed: 0 }
    }

    /// The pause after failure number `failed` (from 0); `chance` is a number in 0..=1.
    fn pause(self, failed: u32, retry_after: Option<Duration>, chance: f64) -> Duration {
        let doubled = self.first_pause.saturating_mul(2_u32.saturating_pow(failed));
        let jittered = doubled.min(LONGEST_PAUSE).mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0);
        let asked = retry_after.unwrap_or_default().min(LONGEST_RETRY_AFTER);
        jittered.max(asked)
    }
}

impl Attempts {
    /// Waits before the next attempt.
    ///
    /// # Errors
    /// Gives `error` back when another attempt would not help or the attempts are used up.
    pub(super) async fn after(&mut self, error: RegistryError) -> Result<(), RegistryError> {
        if !error.is_transient() || self.failed >= self.schedule.retries {
            return Err(error);
        }
        let pause = self.schedule.pause(self.failed, error.retry_after(), chance());
        self.failed += 1;
        tracing::debug!(%error, attempt = self.failed, ?pause, "trying again");
        tokio::time::sleep(pause).await;
        Ok(())
    }

    /// Starts counting anew, because the last attempt got somewhere.
    pub(super) fn progressed(&mut self) {
        self.failed = 0;
    }
}

/// A random number in 0..=1, from the seed that the standard library gives each hasher.
fn chance() -> f64 {
    let random = RandomState::new().build_hasher().finish();
    f64::from((random >> 32) as u32) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Answer;
    use super::*;

    const SCHEDULE: Schedule = Schedule { retries: 3, first_pause: Duration::from_millis(200) };

    fn refused(status: u16) -> RegistryError {
        let answer = Box::new(Answer { status, ..Answer::default() });
        RegistryError::Refused { host: "h".into(), action: "pull".into(), answer }
    }

    #[test]
    fn pauses_double_are_jittered_and_capped() {
        let secs = Duration::from_secs;
        for (failed, retry_after, chance, pause) in [
            (0, None, 1.0, Duration::from_millis(200)),
            (0, None, 0.0, Duration::from_millis(100)),
            (2, None, 1.0, Duration::from_millis(800)),
            (40, None, 1.0, LONGEST_PAUSE),
            (0, Some(secs(7)), 0.3, secs(7)),
            (0, Some(secs(7000)), 0.3, LONGEST_RETRY_AFTER),
        ] {
            assert_eq!(SCHEDULE.pause(failed, retry_after, chance), pause, "{failed} {chance}");
        }
    }

    proptest! {
        #[test]
        fn no_pause_is_longer_than_a_minute(failed: u32, after: Option<u32>, chance in 0.0..=1.0) {
            let after = after.map(|seconds| Duration::from_secs(u64::from(seconds)));
            prop_assert!(SCHEDULE.pause(failed, after, chance) <= LONGEST_RETRY_AFTER);
        }
    }

    #[test]
    fn only_passing_statuses_are_transient() {
        for status in [408, 429, 500, 502, 503, 504] {
            assert!(refused(status).is_transient(), "{status}");
        }
        for status in [301, 400, 401, 403, 404, 405, 409, 413, 416, 501] {
            assert!(!refused(status).is_transient(), "{status}");
        }
    }

    #[tokio::test]
    async fn attempts_end_after_the_cap_and_count_anew_after_progress() {
        let quick = Schedule { retries: 2, first_pause: Duration::ZERO };
        let mut attempts = quick.attempts();
        assert!(attempts.after(refused(503)).await.is_ok());
        assert!(attempts.after(refused(503)).await.is_ok());
        assert!(attempts.after(refused(503)).await.is_err());
        attempts.progressed();
        assert!(attempts.after(refused(503)).await.is_ok());
        assert!(attempts.after(refused(404)).await.is_err());
    }
}
