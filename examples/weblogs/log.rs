//! The log: seeded requests of users to four sites over one hour, in order of time.

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) time_ms: i64,
    pub(crate) user: usize,
    pub(crate) site: usize,
    pub(crate) url: &'static str,
    pub(crate) status: u16,
    pub(crate) taken_ms: i64,
    pub(crate) browser: &'static str,
}

/// 2026-11-02 09:00:00 UTC.
const START_MS: i64 = 1_793_610_000_000;
const URLS: [&str; 8] = [
    "/",
    "/login",
    "/cart",
    "/checkout",
    "/search",
    "/help",
    "/api/v1/items",
    "/img/logo.png",
];
const BROWSERS: [&str; 4] = [
    "Firefox/145.0+(X11)",
    "Chrome/156.0+(Windows)",
    "Safari/19.1+(Macintosh)",
    "curl/8.11",
];
/// Users without a name: `-` in the log.
const NAMELESS: usize = 10;
const USERS: usize = 60;

impl Request {
    /// The user's name in the log.
    pub(crate) fn user_name(&self) -> String {
        match self.user < NAMELESS {
            true => "-".into(),
            false => format!("user{}", self.user),
        }
    }

    /// The site's name in the log.
    pub(crate) fn site_name(&self) -> String {
        format!("W3SVC{}", self.site + 1)
    }

    /// The line that the server writes. The log has whole seconds.
    pub(crate) fn to_line(&self) -> String {
        let seconds = (self.time_ms - START_MS) / 1000;
        let (hour, minute, second) = (9 + seconds / 3600, seconds / 60 % 60, seconds % 60);
        format!(
            "2026-11-02 {hour:02}:{minute:02}:{second:02} 10.0.{}.{} {} {} WEB{} 192.168.1.{} 443 \
             GET {} - {} {} HTTP/2 site{}.example {} -",
            self.user / 250,
            self.user % 250,
            self.user_name(),
            self.site_name(),
            self.site % 2,
            self.site + 10,
            self.url,
            self.status,
            self.taken_ms,
            self.site + 1,
            self.browser,
        )
    }
}

/// A small generator of numbers (xorshift64*), the same everywhere and for ever.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % limit
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }
}

/// `lines` requests, in order of time.
pub(crate) fn generate(lines: usize) -> Vec<Request> {
    let mut numbers = Numbers(0x6b61_7070_6121);
    (0..lines)
        .map(|line| {
            let user = numbers.below(USERS as u64) as usize;
            let browser = BROWSERS[user % BROWSERS.len()];
            let site = (numbers.below(16) as usize).min(3 + user % 4) % 4;
            let failing = browser.starts_with("curl") && numbers.below(10) == 0;
            let status = match numbers.below(100) {
                _ if failing => 503,
                0..=1 => 500,
                2..=6 => 404,
                7..=12 => 304,
                _ => 200,
            };
            Request {
                time_ms: START_MS + (line as i64 * 3_600_000 / lines as i64) / 1000 * 1000,
                user,
                site,
                url: numbers.pick(&URLS),
                status,
                taken_ms: 5 + numbers.below(200) as i64 + if failing { 2000 } else { 0 },
                browser,
            }
        })
        .collect()
}
