//! The text that Prometheus reads, read as strictly as it can be.
use std::collections::{BTreeMap, BTreeSet};

/// What `/metrics` answered.
///
/// ```
/// use bailiwick_testkit::Scrape;
///
/// let text = "# HELP made_total Things.\n# TYPE made_total counter\nmade_total{kind=\"a\"} 2\nmade_total{kind=\"b\"} 3\n";
/// let scrape = Scrape::parse(text).unwrap();
/// assert_eq!(scrape.value("made_total", &[("kind", "b")]), 3.0);
/// assert_eq!(scrape.value("made_total", &[]), 5.0);
/// assert!(Scrape::parse("made_total 2\n").is_err());
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scrape {
    families: BTreeMap<String, Family>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Family {
    kind: String,
    samples: Vec<Sample>,
}

#[derive(Clone, Debug, PartialEq)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Scrape {
    /// Reads the text format of version 0.0.4.
    ///
    /// # Errors
    /// The first line that is wrong: text that is not of the format, a sample without its `HELP` and `TYPE` before it, a
    /// series that is there twice, a counter that is not called `_total` or is no count, or a histogram whose buckets do not
    /// add up.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut scrape = Self::default();
        let mut current = None::<(String, Family)>;
        let mut helped = None::<&str>;
        if !text.is_empty() && !text.ends_with('\n') {
            return Err("the last line has no end".to_owned());
        }
        for line in text.lines() {
            let wrong = |what: &str| Err(format!("{what}: {line}"));
            if let Some(rest) = line.strip_prefix("# HELP ") {
                scrape.end(current.take())?;
                let Some((name, help)) = rest.split_once(' ') else { return wrong("no help") };
                if !is_name(name) || help.is_empty() || scrape.families.contains_key(name) {
                    return wrong("no name, no help, or a name that was there");
                }
                helped = Some(name);
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let Some((name, kind)) = rest.split_once(' ') else { return wrong("no type") };
                if helped.take() != Some(name) || !["counter", "gauge", "histogram"].contains(&kind) {
                    return wrong("a type that does not follow its help, or is none");
                }
                if (kind == "counter") != name.ends_with("_total") {
                    return wrong("counters, and nothing else, are called _total");
                }
                current = Some((name.to_owned(), Family { kind: kind.to_owned(), samples: Vec::new() }));
            } else {
                let Some((name, family)) = &mut current else { return wrong("a sample without its type") };
                let Some(sample) = sample(line) else { return wrong("no sample") };
                let suffix = sample.name.strip_prefix(name.as_str());
                let suffixes: &[&str] =
                    if family.kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
                if !suffix.is_some_and(|suffix| suffixes.contains(&suffix)) {
                    return wrong("a sample of another family");
                }
                if family.kind == "counter" && (sample.value < 0.0 || sample.value.fract() != 0.0) {
                    return wrong("no count");
                }
                let is_same = |other: &Sample| other.name == sample.name && other.labels == sample.labels;
                if family.samples.iter().any(is_same) {
                    return wrong("a series that was there");
                }
                family.samples.push(sample);
            }
        }
        scrape.end(current)?;
        Ok(scrape)
    }

    fn end(&mut self, family: Option<(String, Family)>) -> Result<(), String> {
        let Some((name, family)) = family else { return Ok(()) };
        if family.kind == "histogram" {
            family.check_buckets(&name)?;
        }
        self.families.insert(name, family);
        Ok(())
    }

    /// The sum of all series of this name that have these labels; 0 if there are none. A histogram's count is `…_count`.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let has = |sample: &&Sample| {
            labels.iter().all(|(label, value)| sample.labels.get(*label).is_some_and(|is| is == value))
        };
        self.samples().filter(|sample| sample.name == name).filter(has).map(|sample| sample.value).sum()
    }

    /// How many series there are, each bucket of a histogram counted.
    pub fn series(&self) -> usize {
        self.samples().count()
    }

    /// The names of the families, as `HELP` and `TYPE` give them.
    pub fn families(&self) -> BTreeSet<&str> {
        self.families.keys().map(String::as_str).collect()
    }

    /// The names of the labels of a family, without `le`.
    pub fn labels(&self, family: &str) -> BTreeSet<&str> {
        let samples = self.families.get(family).into_iter().flat_map(|family| &family.samples);
        samples
            .flat_map(|sample| sample.labels.keys())
            .map(String::as_str)
            .filter(|name| *name != "le")
            .collect()
    }

    /// The values of a label, whatever the family.
    pub fn label_values(&self, label: &str) -> BTreeSet<&str> {
        self.samples().filter_map(|sample| sample.labels.get(label)).map(String::as_str).collect()
    }

    fn samples(&self) -> impl Iterator<Item = &Sample> {
        self.families.values().flat_map(|family| &family.samples)
    }
}

impl Family {
    /// Buckets ascend in their bounds and counts, and the last is the count.
    fn check_buckets(&self, name: &str) -> Result<(), String> {
        let mut series: BTreeMap<BTreeMap<String, String>, Vec<(f64, f64)>> = BTreeMap::new();
        for sample in self.samples.iter().filter(|sample| sample.name.ends_with("_bucket")) {
            let mut labels = sample.labels.clone();
            let bound = labels.remove("le").and_then(|bound| bound.parse().ok());
            let Some(bound) = bound else { return Err(format!("a bucket of {name} has no bound")) };
            series.entry(labels).or_default().push((bound, sample.value));
        }
        for (labels, buckets) in &series {
            let of = |suffix: &str| {
                let name = format!("{name}{suffix}");
                self.samples.iter().find(|sample| sample.name == name && sample.labels == *labels)
            };
            let ascends = buckets.is_sorted_by(|(one, few), (other, many)| one < other && few <= many);
            let adds_up = match (buckets.last(), of("_count"), of("_sum")) {
                (Some((bound, all)), Some(count), Some(_)) => bound.is_infinite() && *all == count.value,
                _ => false,
            };
            if !ascends || !adds_up {
                return Err(format!("the buckets of {name}{labels:?} do not add up: {buckets:?}"));
            }
        }
        let counts = self.samples.iter().filter(|sample| sample.name.ends_with("_count")).count();
        if counts == series.len() { Ok(()) } else { Err(format!("{name} has a count without buckets")) }
    }
}

fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// `name{label="value",…} value`
fn sample(line: &str) -> Option<Sample> {
    let end = line.find(['{', ' '])?;
    let (name, rest) = line.split_at(end);
    let mut labels = BTreeMap::new();
    let value = match rest.strip_prefix('{') {
        None => rest,
        Some(mut rest) => loop {
            let (label, after) = rest.split_once("=\"")?;
            let (value, after) = quoted(after)?;
            if !is_name(label) || labels.insert(label.to_owned(), value).is_some() {
                return None;
            }
            match (after.strip_prefix(','), after.strip_prefix('}')) {
                (Some(more), _) => rest = more,
                (None, Some(value)) => break value,
                (None, None) => return None,
            }
        },
    };
    let value = value.strip_prefix(' ')?;
    is_name(name).then_some(Sample { name: name.to_owned(), labels, value: value.parse().ok()? })
}

/// The text up to the next quote that is not escaped, and what is behind that.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(match characters.next()?.1 {
                'n' => '\n',
                escaped @ ('\\' | '"') => escaped,
                _ => return None,
            }),
            _ => value.push(character),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const HISTOGRAM: &str = "# HELP took_seconds Time.\n# TYPE took_seconds histogram\n\
        took_seconds_bucket{a=\"x\",le=\"0.5\"} 1\ntook_seconds_bucket{a=\"x\",le=\"+Inf\"} 3\n\
        took_seconds_sum{a=\"x\"} 4.5\ntook_seconds_count{a=\"x\"} 3\n";

    #[test]
    fn what_is_right_is_read() {
        let scrape = Scrape::parse(HISTOGRAM).unwrap();
        assert_eq!(scrape.value("took_seconds_count", &[("a", "x")]), 3.0);
        assert_eq!(scrape.value("took_seconds_bucket", &[("le", "0.5")]), 1.0);
        assert_eq!((scrape.series(), scrape.labels("took_seconds")), (4, BTreeSet::from(["a"])));
        let escaped = "# HELP up Up.\n# TYPE up gauge\nup{path=\"a\\\\b\\\"c\\n,}\"} 1e3\n";
        let scrape = Scrape::parse(escaped).unwrap();
        assert_eq!(scrape.value("up", &[("path", "a\\b\"c\n,}")]), 1000.0);
    }

    #[test]
    fn what_is_wrong_is_not() {
        for (right, wrong) in [
            ("} 3\ntook_seconds_sum", "} 2\ntook_seconds_sum"),
            ("le=\"0.5\"} 1", "le=\"0.5\"} 4"),
            ("+Inf", "0.5"),
            ("took_seconds_count{a=\"x\"} 3", "took_seconds_count{a=\"y\"} 3"),
            ("# TYPE took_seconds histogram\n", ""),
            ("# HELP took_seconds Time.\n", ""),
            ("a=\"x\",le=\"0.5\"", "a=\"x\" le=\"0.5\""),
            ("_sum{a=\"x\"} 4.5", "_sum{a=\"x\"} much"),
            ("_sum{a=\"x\"} 4.5\n", "_sum{a=\"x\"} 4.5\ntook_seconds_sum{a=\"x\"} 4.5\n"),
            ("histogram", "counter"),
        ] {
            let text = HISTOGRAM.replacen(right, wrong, 1);
            assert!(Scrape::parse(&text).is_err(), "{text}");
        }
        assert!(Scrape::parse(HISTOGRAM.trim_end()).is_err());
        assert!(Scrape::parse(&HISTOGRAM.repeat(2)).is_err());
    }
}
