//! Patterns of origins, and what they let in.
use std::{
    collections::{BTreeSet, HashMap, HashSet, VecDeque},
    fmt,
    str::FromStr,
    sync::Arc,
};

use regex_automata::{
    Anchored, MatchKind,
    dfa::{Automaton, StartKind, dense},
    nfa::thompson,
    util::{primitives::StateID, start, syntax},
};
use regex_syntax::hir::Look;

/// A regular expression of origins that are all of a few, known owners.
///
/// It is in the syntax of the crate `regex`, in ASCII, and matches the whole origin or not at all (CORS-25). Only http
/// and https with the name of a host or an IPv4 address, and a port or none, can match, in lower case as browsers send it.
///
/// It is read by looking at every host that it matches, from the right: up to a domain that somebody can register, only a
/// few names may stand there. So the pattern cannot be talked into strangers by a dot that was not escaped, a wildcard
/// before the domain, or a suffix below which anybody gets a name of their own, such as `co.uk` or `github.io` (CORS-41,
/// CORS-42).
///
/// ```
/// use bailiwick::cors::OriginPattern;
///
/// assert!(r"^https://[a-z0-9-]+\.example\.com$".parse::<OriginPattern>().is_ok());
/// for wrong in [
///     r"https://[a-z]+\.example\.com",     // not anchored
///     r"^https://.*$",                     // everybody
///     r"^https://.*example\.com$",         // evilexample.com
///     r"^https://app.example\.com$",       // appxexample.com
///     r"^https://[a-z]+\.github\.io$",     // everybody who has a page there
/// ] {
///     assert!(wrong.parse::<OriginPattern>().is_err(), "{wrong}");
/// }
/// ```
#[derive(Clone)]
pub struct OriginPattern {
    text: Box<str>,
    reversed: Arc<Reversed>,
    /// The domains, and the hosts that are none, of all that it matches.
    owners: BTreeSet<String>,
    lets_in_plain_http: bool,
}

/// Why a regular expression is no pattern of origins that may be let in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidPattern {
    /// It cannot be read.
    #[error("this is no regular expression: {0}")]
    Syntax(Box<str>),
    /// It would cost too much memory or time, or asks for what no automaton can do.
    #[error("the regular expression is too large")]
    TooLarge,
    /// It does not say where an origin begins or ends: each alternative needs both `^` and `$`.
    #[error("it is not anchored by ^ and $ at both ends")]
    Unanchored,
    /// No browser sends anything that it matches.
    #[error("it matches no origin that a browser sends")]
    Nothing,
    /// It matches hosts of more owners than a pattern can mean.
    #[error("it lets in whoever has one of many domains, such as {}", .0.join(" or "))]
    Anybody(Vec<String>),
}

/// The longest pattern, in bytes.
const MAX_TEXT: usize = 1024;
/// The longest origin: a host of 253 characters, and what stands around it.
const MAX_ORIGIN: usize = "https://".len() + 253 + ":65535".len();
/// How many owners a pattern may mean: fewer than there are digits, which one class too many would let in.
const MAX_OWNERS: usize = 8;
/// How many beginnings of names are looked at until then.
const MAX_STEPS: usize = 2_000;
const MAX_AUTOMATON_BYTES: usize = 256 << 10;

impl OriginPattern {
    /// The text of the pattern.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether an origin of plain http matches: whoever is on the way to it writes its pages.
    pub fn lets_in_plain_http(&self) -> bool {
        self.lets_in_plain_http
    }

    /// Whether one matches that need not be on this machine.
    pub fn lets_in_plain_http_outside(&self) -> bool {
        self.lets_in_plain_http && !self.owners.iter().all(|owner| is_loopback(owner))
    }

    /// Whether this is, byte for byte, an origin that the pattern means.
    pub(super) fn matches(&self, origin: &[u8]) -> bool {
        origin.len() <= MAX_ORIGIN
            && host_of(origin).is_some_and(|host| self.owners.contains(owner_of(host)))
            && self.reversed.matches(origin)
    }
}

impl FromStr for OriginPattern {
    type Err = InvalidPattern;

    fn from_str(text: &str) -> Result<Self, InvalidPattern> {
        if text.len() > MAX_TEXT {
            return Err(InvalidPattern::TooLarge);
        }
        let reversed = Reversed::new(text)?;
        let alive = reversed.leads_to_origin();
        let owners = reversed.owners(&alive)?;
        if owners.is_empty() {
            return Err(InvalidPattern::Nothing);
        }
        let lets_in_plain_http = reversed.lets_in_plain_http();
        Ok(Self { text: text.into(), reversed: Arc::new(reversed), owners, lets_in_plain_http })
    }
}

impl PartialEq for OriginPattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for OriginPattern {}

impl fmt::Debug for OriginPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OriginPattern").field("text", &self.text).field("owners", &self.owners).finish()
    }
}

impl fmt::Display for OriginPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

/// What a host can be made of, apart from the dots between its labels.
const fn is_in_label(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_')
}

/// The host of `http[s]://label.label[:port]`, no label empty. Only what has this form is looked at when a pattern is read,
/// so nothing else may match it.
fn host_of(origin: &[u8]) -> Option<&str> {
    let rest = origin.strip_prefix(b"https://").or_else(|| origin.strip_prefix(b"http://"))?;
    let (host, port) = match memchr::memchr(b':', rest) {
        Some(at) => (&rest[..at], Some(&rest[at + 1..])),
        None => (rest, None),
    };
    let is_label = |label: &[u8]| !label.is_empty() && label.iter().copied().all(is_in_label);
    let is_port = |port: &[u8]| !port.is_empty() && port.iter().all(u8::is_ascii_digit);
    if !host.split(|byte| *byte == b'.').all(is_label) || !port.is_none_or(is_port) {
        return None;
    }
    std::str::from_utf8(host).ok()
}

/// The automaton of a pattern, which reads from the right. What decides about an origin is the same that was looked at
/// when the pattern was read.
struct Reversed {
    automaton: dense::DFA<Vec<u32>>,
    start: StateID,
}

impl Reversed {
    fn new(text: &str) -> Result<Self, InvalidPattern> {
        let syntax = syntax::Config::new().unicode(false).utf8(false).nest_limit(50);
        let parsed =
            syntax::parse_with(text, &syntax).map_err(|error| InvalidPattern::Syntax(last_line(&error)))?;
        let looks = parsed.properties();
        // Of an alternation, what all of its branches have.
        let is_anchored =
            looks.look_set_prefix().contains(Look::Start) && looks.look_set_suffix().contains(Look::End);
        if !is_anchored {
            return Err(InvalidPattern::Unanchored);
        }
        let automaton = dense::Builder::new()
            .syntax(syntax)
            .thompson(
                thompson::Config::new().reverse(true).utf8(false).nfa_size_limit(Some(MAX_AUTOMATON_BYTES)),
            )
            .configure(
                dense::Config::new()
                    .start_kind(StartKind::Anchored)
                    // Every match counts, not the one that a search would prefer.
                    .match_kind(MatchKind::All)
                    .accelerate(false)
                    .dfa_size_limit(Some(MAX_AUTOMATON_BYTES))
                    .determinize_size_limit(Some(4 * MAX_AUTOMATON_BYTES)),
            )
            .build(text)
            .map_err(|_| InvalidPattern::TooLarge)?;
        let start = automaton
            .start_state(&start::Config::new().anchored(Anchored::Yes))
            .map_err(|_| InvalidPattern::TooLarge)?;
        Ok(Self { automaton, start })
    }

    fn next(&self, state: StateID, byte: u8) -> Option<StateID> {
        let next = self.automaton.next_state(state, byte);
        (!self.automaton.is_dead_state(next) && !self.automaton.is_quit_state(next)).then_some(next)
    }

    fn read(&self, state: StateID, reversed: impl IntoIterator<Item = u8>) -> Option<StateID> {
        reversed.into_iter().try_fold(state, |state, byte| self.next(state, byte))
    }

    /// Whether all that was read up to here is one whole match.
    fn is_match(&self, state: StateID) -> bool {
        self.automaton.is_match_state(self.automaton.next_eoi_state(state))
    }

    fn matches(&self, origin: &[u8]) -> bool {
        self.read(self.start, origin.iter().rev().copied()).is_some_and(|state| self.is_match(state))
    }

    /// Whether the host that was read up to here has all that an origin needs before it.
    fn is_whole(&self, host: StateID) -> bool {
        ["http://", "https://"].iter().any(|scheme| self.is_whole_after(host, scheme))
    }

    fn is_whole_after(&self, host: StateID, scheme: &str) -> bool {
        self.read(host, scheme.bytes().rev()).is_some_and(|state| self.is_match(state))
    }

    /// Where hosts begin, read from the right: behind any port, and without one.
    fn hosts(&self) -> Vec<StateID> {
        let mut hosts = vec![self.start];
        let mut seen = HashSet::new();
        let mut waiting = vec![self.start];
        while let Some(state) = waiting.pop() {
            for next in (b'0'..=b'9').filter_map(|digit| self.next(state, digit)) {
                if seen.insert(next) {
                    hosts.extend(self.next(next, b':'));
                    waiting.push(next);
                }
            }
        }
        hosts
    }

    /// The states within a host from which there is a way to a whole origin.
    fn leads_to_origin(&self) -> HashSet<StateID> {
        let mut before: HashMap<StateID, Vec<StateID>> = HashMap::new();
        let mut seen: HashSet<_> = self.hosts().into_iter().collect();
        let mut waiting: Vec<_> = seen.iter().copied().collect();
        while let Some(state) = waiting.pop() {
            for next in in_hosts().filter_map(|byte| self.next(state, byte)) {
                before.entry(next).or_default().push(state);
                if seen.insert(next) {
                    waiting.push(next);
                }
            }
        }
        waiting = seen.into_iter().filter(|state| self.is_whole(*state)).collect();
        let mut alive: HashSet<_> = waiting.iter().copied().collect();
        while let Some(state) = waiting.pop() {
            for earlier in before.get(&state).into_iter().flatten() {
                if alive.insert(*earlier) {
                    waiting.push(*earlier);
                }
            }
        }
        alive
    }

    fn lets_in_plain_http(&self) -> bool {
        let mut waiting = self.hosts();
        let mut seen: HashSet<_> = waiting.iter().copied().collect();
        while let Some(state) = waiting.pop() {
            if self.is_whole_after(state, "http://") {
                return true;
            }
            waiting.extend(
                in_hosts().filter_map(|byte| self.next(state, byte)).filter(|next| seen.insert(*next)),
            );
        }
        false
    }

    /// `suffix`, and before it the labels of which there is only one choice, from the state behind its dot.
    fn prolonged(&self, mut state: StateID, suffix: &str, alive: &HashSet<StateID>) -> String {
        let (mut label, mut known) = (Vec::new(), suffix.to_owned());
        while label.len() < MAX_ORIGIN && known.len() < MAX_ORIGIN {
            let choices = in_hosts().filter_map(|byte| Some((byte, self.next(state, byte)?)));
            let mut choices = choices.filter(|(_, next)| alive.contains(next));
            let (Some((byte, next)), None) = (choices.next(), choices.next()) else { break };
            match byte {
                b'.' if label.is_empty() => break,
                b'.' => known = format!("{}.{known}", forwards(&std::mem::take(&mut label))),
                _ => label.push(byte),
            }
            state = next;
        }
        known
    }

    /// The domains of all hosts that match; of those that are in none, such as addresses, the hosts themselves.
    fn owners(&self, alive: &HashSet<StateID>) -> Result<BTreeSet<String>, InvalidPattern> {
        let mut owners = BTreeSet::new();
        let hosts = self.hosts().into_iter().filter(|state| alive.contains(state));
        // Short ones first, so that the examples are. What was read is kept in the order of reading.
        let mut waiting: VecDeque<(StateID, Vec<u8>)> = hosts.map(|state| (state, Vec::new())).collect();
        let mut steps = 0;
        while let Some((state, read)) = waiting.pop_front() {
            steps += 1;
            let is_label = read.last().is_some_and(|byte| *byte != b'.');
            if is_label && self.is_whole(state) {
                owners.insert(owner_of(&forwards(&read)).to_owned());
            }
            if owners.len() > MAX_OWNERS || steps > MAX_STEPS {
                return Err(InvalidPattern::Anybody(owners.into_iter().take(3).collect()));
            }
            for byte in in_hosts() {
                let Some(next) = self.next(state, byte).filter(|next| alive.contains(next)) else { continue };
                if byte == b'.' {
                    if !is_label {
                        continue;
                    }
                    let suffix = forwards(&read);
                    // What stands before it is its owner's, unless it is known to lead to a suffix further down.
                    if is_registered(&suffix) && owner_of(&self.prolonged(next, &suffix, alive)) == suffix {
                        owners.insert(suffix);
                        continue;
                    }
                }
                let mut read = read.clone();
                read.push(byte);
                waiting.push_back((next, read));
            }
        }
        Ok(owners)
    }
}

fn in_hosts() -> impl Iterator<Item = u8> {
    (0..=u8::MAX).filter(|byte| is_in_label(*byte) || *byte == b'.')
}

fn forwards(read: &[u8]) -> String {
    read.iter().rev().copied().map(char::from).collect()
}

/// Whose host it is: the domain that somebody registered, or the host itself where nobody could.
fn owner_of(host: &str) -> &str {
    match psl::domain_str(host) {
        _ if is_address(host) => host,
        _ if host.ends_with(".localhost") => "localhost",
        Some(domain) => domain,
        None => host,
    }
}

/// Whether somebody can register `suffix`, so that what is below it is theirs; or it is this machine.
fn is_registered(suffix: &str) -> bool {
    suffix == "localhost" || (!is_address(suffix) && psl::domain_str(suffix) == Some(suffix))
}

/// Whether it ends an address and not a name: no domain at the top is a number.
fn is_address(host: &str) -> bool {
    host.rsplit('.').next().is_some_and(|label| label.bytes().all(|byte| byte.is_ascii_digit()))
}

fn is_loopback(owner: &str) -> bool {
    owner == "localhost" || owner.parse::<std::net::Ipv4Addr>().is_ok_and(|address| address.is_loopback())
}

/// The parser shows the whole pattern, over several lines, and says at the end what is wrong.
fn last_line(error: &impl fmt::Display) -> Box<str> {
    let text = error.to_string();
    let line = text.lines().last().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).into()
}

#[cfg(test)]
mod tests {
    use proptest::{prop_assert, proptest};

    use super::*;

    fn read(pattern: &str) -> Result<OriginPattern, InvalidPattern> {
        pattern.parse()
    }

    fn owners(pattern: &str) -> Vec<String> {
        read(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}")).owners.into_iter().collect()
    }

    #[test]
    fn a_pattern_of_known_owners_is_accepted_and_says_whose() {
        for (pattern, whose) in [
            (r"^https://app\.example\.com$", &["example.com"][..]),
            (r"^https://[a-z0-9-]+\.example\.com$", &["example.com"]),
            (r"^https://.+\.example\.com$", &["example.com"]),
            (r"^https://[^.]+\.example\.com$", &["example.com"]),
            (r"^https://([a-z]+\.)?example\.com$", &["example.com"]),
            (r"^https?://([a-z]+\.)*example\.com(:[0-9]+)?$", &["example.com"]),
            (r"\Ahttps://pr-\d{1,5}\.preview\.example\.com\z", &["example.com"]),
            (
                r"^https://[a-z]+\.example\.(com|org|co\.uk)$",
                &["example.co.uk", "example.com", "example.org"],
            ),
            (r"^https://a\.example\.com$|^https://b\.example\.org$", &["example.com", "example.org"]),
            // Below a suffix of its own, a name is somebody's.
            (r"^https://ann\.github\.io$", &["ann.github.io"]),
            (r"^https://[a-z]+\.ann\.github\.io$", &["ann.github.io"]),
            (r"^https://ann\.s3\.amazonaws\.com$", &["ann.s3.amazonaws.com"]),
            (r"^(?i)https://app\.example\.com$", &["example.com"]),
            (r"^http://localhost:[0-9]+$", &["localhost"]),
            (r"^http://([a-z]+\.)?localhost(:\d+)?$", &["localhost"]),
            (r"^http://127\.0\.0\.[12]:8000$", &["127.0.0.1", "127.0.0.2"]),
            // What no browser sends does not count.
            (r"^(null|.*/|https://a\.example\.com)$", &["example.com"]),
        ] {
            assert_eq!(owners(pattern), whose, "{pattern}");
        }
    }

    // CORS-25, CORS-41, CORS-42
    #[test]
    fn a_pattern_without_both_anchors_is_refused() {
        for pattern in [
            "",
            r"https://app\.example\.com",
            r"^https://app\.example\.com",
            r"https://app\.example\.com$",
            r"^https://a\.example\.com|https://b\.example\.com$",
            r"^https://a\.example\.com$|https://b\.example\.com$",
            r"(^|x)https://app\.example\.com$",
            r"(?m)^https://app\.example\.com$",
            r"^?https://app\.example\.com$",
        ] {
            assert_eq!(read(pattern), Err(InvalidPattern::Unanchored), "{pattern}");
        }
    }

    // CORS-41, CORS-42
    #[test]
    fn a_pattern_that_lets_in_strangers_is_refused() {
        for pattern in [
            r"^.*$",
            r"^https://.*$",
            r"^https?://.+$",
            r"^[^/]+://[^/]+$",
            r"^https://[a-z.]+$",
            r"^https://[a-z0-9-]+$",
            r"^https://.*\.com$",
            r"^https://[a-z]+\.co\.uk$",
            r"^https://[a-z]+\.github\.io$",
            r"^https://pr-[0-9]+\.vercel\.app$",
            r"^https://[a-z]+\.s3\.amazonaws\.com$",
            // No name of a host ends at the top.
            r"^https://[a-z]+\.corp$",
            r"^https://.*example\.com$",
            r"^https://[a-z]*example\.com$",
            r"^https://app.example\.com$",
            r"^https://app\.example.com$",
            r"^https://example\.[a-z]+$",
            r"^https://shop[0-9]\.com$",
            r"^https://app\.example\.com.*$",
            r"^https://app\.example\.com(\.[a-z]+)*$",
            r"^(https://app\.example\.com|.*)$",
            r"^https://app\.example\.com$|^https://.*$",
            r"^http://[0-9]+\.[0-9]+\.0\.1$",
            r"^http://10\.0\.0\.\d+:8000$",
            r"^https://[a-z]{20}\.com$",
            r"^https://(a|b)*\.com$",
        ] {
            assert!(
                matches!(read(pattern), Err(InvalidPattern::Anybody(_))),
                "{pattern}: {:?}",
                read(pattern)
            );
        }
        let Err(InvalidPattern::Anybody(examples)) = read(r"^https://app.example\.com$") else { panic!() };
        assert_eq!(examples.len(), 3);
        assert!(examples.iter().all(|example| example.ends_with("example.com")), "{examples:?}");
    }

    #[test]
    fn what_no_browser_could_match_or_nobody_could_run_is_refused() {
        for pattern in [
            r"^$",
            r"^null$",
            r"^file://$",
            r"^https://App\.example\.com$",
            r"^https://app\.example\.com/$",
            r"^https://app\.example\.com\.$",
            r"^https://user@app\.example\.com$",
            r"^https://\[::1\]$",
            r"^ftp://app\.example\.com$",
            r"^\*$",
            r"^https://\.$",
        ] {
            assert_eq!(read(pattern), Err(InvalidPattern::Nothing), "{pattern}");
        }
        for pattern in ["^(", "^[a$", "^a{5,1}$", r"^(?=a)$", r"^\p{Nonsense}$", "*"] {
            assert!(
                matches!(read(pattern), Err(InvalidPattern::Syntax(_))),
                "{pattern}: {:?}",
                read(pattern)
            );
        }
        let deep = format!("^{}a{}$", "(".repeat(400), ")".repeat(400));
        assert!(matches!(read(&deep), Err(InvalidPattern::Syntax(_))));
        let long = format!("^https://{}\\.example\\.com$", "a".repeat(MAX_TEXT));
        for pattern in [&*long, r"^(([a-z]{100}){100}){100}$", r"^https://.{40}a.*\.example\.com$"] {
            assert_eq!(read(pattern), Err(InvalidPattern::TooLarge), "{pattern}");
        }
    }

    #[test]
    fn plain_http_is_found_and_where_somebody_could_be_on_the_way() {
        for (pattern, anywhere, outside) in [
            (r"^https://[a-z]+\.example\.com$", false, false),
            (r"^https?://[a-z]+\.example\.com$", true, true),
            (r"^http://app\.example\.com(:[0-9]+)?$", true, true),
            // One that lets in both is not for development alone.
            (r"^(http://localhost|https://app\.example\.com)$", true, true),
            (r"^http://([a-z]+\.)?localhost:[0-9]+$", true, false),
            (r"^http://127\.0\.0\.1$", true, false),
        ] {
            let pattern = read(pattern).unwrap();
            assert_eq!(pattern.lets_in_plain_http(), anywhere, "{pattern}");
            assert_eq!(pattern.lets_in_plain_http_outside(), outside, "{pattern}");
        }
    }

    // CORS-25, CORS-42
    #[test]
    fn the_whole_origin_matches_or_nothing_does() {
        let pattern = read(r"^https?://([a-z0-9-]+\.)?example\.com(:[0-9]+)?$").unwrap();
        for right in [
            "https://example.com",
            "http://example.com",
            "https://a.example.com:8443",
            "https://x-1.example.com",
        ] {
            assert!(pattern.matches(right.as_bytes()), "{right}");
        }
        for wrong in [
            "",
            "null",
            "https://evilexample.com",
            "https://example.com.evil.test",
            "https://example.com.",
            "https://.example.com",
            "https://a.b.example.com",
            "https://A.example.com",
            "https://example.com/",
            "https://example.com:",
            "https://example.com:8443:1",
            "https://example.com@evil.test",
            "https://evil.test#https://example.com",
            "xhttps://example.com",
            "https://example.com\n",
            "https://example.com, https://example.com",
            "https://exämple.com",
        ] {
            assert!(!pattern.matches(wrong.as_bytes()), "{wrong:?}");
        }
        assert!(!pattern.matches(b"https://\xff.example.com"));
        // Below the domain of an owner may be a suffix, and below that anybody.
        let cloud = read(r"^https://.*\.amazonaws\.com$").unwrap();
        assert!(cloud.matches(b"https://console.amazonaws.com"));
        assert!(!cloud.matches(b"https://evil.s3.amazonaws.com"));
        let wide = read(r"^https://.*\.example\.com$").unwrap();
        assert!(wide.matches(b"https://a.b.example.com"));
        for wrong in
            ["https://evil.test/.example.com", "https://evil.test?.example.com", "https://a@b.example.com"]
        {
            assert!(!wide.matches(wrong.as_bytes()), "{wrong}");
        }
        let long = format!("https://{}.example.com", "a".repeat(300));
        assert!(!wide.matches(long.as_bytes()));
    }

    proptest! {
        #![proptest_config(proptest::test_runner::Config::with_cases(64))]

        #[test]
        fn no_text_makes_it_panic(text: String, origin: Vec<u8>) {
            if let Ok(pattern) = read(&text) {
                pattern.matches(&origin);
            }
        }

        // The promise itself: whatever the pattern, what it lets in is of an owner that it named.
        #[test]
        fn whoever_is_let_in_is_below_an_owner(
            pattern in r"\^https\?://(\.\*|\[a-z\]\+|a|b|\.|\\\.|\(a\|b\)\?|com|example){1,6}\$",
            origin in r"https?://(a|b|\.|com|example|evil|[a-z]){1,8}",
        ) {
            if let Ok(pattern) = read(&pattern) && pattern.matches(origin.as_bytes()) {
                let host = origin.rsplit('/').next().unwrap();
                prop_assert!(pattern.owners.iter().any(|owner| {
                    host == owner || host.strip_suffix(owner.as_str()).is_some_and(|rest| rest.ends_with('.'))
                }), "{pattern} lets in {origin}");
            }
        }
    }
}
