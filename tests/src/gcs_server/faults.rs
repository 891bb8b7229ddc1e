//! What is to go wrong with the next requests.

use std::time::Duration;

use hyper::StatusCode;

/// The faults that were asked for.
#[derive(Debug, Default)]
pub(super) struct Faults {
    pub(super) requests: u64,
    pub(super) refuse: bool,
    pub(super) throttle: u32,
    pub(super) lose: u32,
    /// Part of the paths whose answers are to be lost.
    pub(super) lose_of: String,
    pub(super) delay: Duration,
    /// Requests until all are refused, and whether the last before is not answered.
    pub(super) cut: Option<(u32, bool)>,
}

/// What is to happen to one request.
pub(super) struct Fate {
    pub(super) delay: Duration,
    /// Not to be executed, and answered with this.
    pub(super) refusal: Option<(StatusCode, &'static str)>,
    /// To be executed, and not answered.
    pub(super) lose: bool,
}

impl Faults {
    pub(super) fn next(&mut self, writes: bool, path: &str) -> Fate {
        self.requests += 1;
        let mut fate = Fate {
            delay: self.delay,
            refusal: None,
            lose: false,
        };
        if let Some((left, lose)) = &mut self.cut
            && *left > 0
        {
            *left -= 1;
            fate.lose = *lose && *left == 0;
        } else if self.refuse || self.cut.is_some() {
            fate.refusal = Some((StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable"));
        } else if self.throttle > 0 {
            self.throttle -= 1;
            fate.refusal = Some((StatusCode::TOO_MANY_REQUESTS, "SlowDown"));
        } else if writes && self.lose > 0 && path.contains(&self.lose_of) {
            self.lose -= 1;
            fate.lose = true;
        }
        fate
    }
}
