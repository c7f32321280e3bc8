//! What is wrong with the settings: every fault with its key, none with its value.

use std::fmt;

/// One thing that is wrong. Its sentence never repeats a value, because any value may be a secret in the wrong place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The full dotted key, or the file that could not be read.
    pub key: String,
    /// What is wrong, and the remedy.
    pub text: String,
}

/// Everything that is wrong with the settings. Prints one line a fault.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
pub struct Faults(pub Vec<Fault>);

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.text)
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, fault) in self.0.iter().enumerate() {
            if n > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{fault}")?;
        }
        Ok(())
    }
}

impl Faults {
    /// Notes one more fault.
    pub(super) fn push(&mut self, key: impl Into<String>, text: impl Into<String>) {
        self.0.push(Fault { key: key.into(), text: text.into() });
    }
}

/// A key's path in its section. Keys are somebody's text: what does not look like a key is escaped, so that a fault stays one short line.
pub(super) fn join(section: &str, key: &str) -> String {
    const KEY_CHARS_MAX: usize = 100;
    let shown: String = if key.is_empty() { "\"\"".into() } else { key.chars().take(KEY_CHARS_MAX).flat_map(char::escape_debug).collect() };
    if section.is_empty() { shown } else { format!("{section}.{shown}") }
}

/// The sentence for a key that does not exist, with the nearest one that does.
pub(super) fn unknown(section: &str, key: &str, known: &[&'static str]) -> String {
    const DISTANCE_MAX: usize = 3;
    let short: String = key.chars().take(100).collect();
    let nearest = known.iter().map(|name| (strsim::damerau_levenshtein(&short, name), *name)).min();
    match nearest {
        Some((distance, name)) if distance <= DISTANCE_MAX && distance < name.len() => {
            format!("there is no such key; did you mean {}?", join(section, name))
        }
        _ => "there is no such key; config/default.toml lists all of them".into(),
    }
}
