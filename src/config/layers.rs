//! Layers: the default file, then the given files, then the environment, laid over one another into one tree.
//!
//! # Why
//! The crate `config` lays the layers; it does not read them. Its own readers quote the offending line of a file, which may
//! hold a secret, and take top-level keys and variable names for paths (`a.b`, `a[9]`). So each layer is a table that we have
//! read, and it goes in below one plain key ([`ROOT`]), where the crate takes keys as they are. The price is a conversion in
//! and out, in which a date becomes its text; no setting is a date. A second format, or settings that are read anew while
//! running, would let the crate do more.

use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use ::config::{ConfigError, Map, Source};
use toml::{Table, Value};

use super::fault::{Faults, join};

const DEFAULTS: &str = include_str!("../../config/default.toml");
const FILE_BYTES_MAX: u64 = 1 << 20;
const DEPTH_MAX: usize = 8;
/// What a layer hangs from while it is laid.
const ROOT: &str = "settings";
/// What a variable's name begins with, when it is ours.
pub(super) const PREFIX: &str = "ROLLCALL__";

#[cfg(test)]
mod tests;

/// All layers in one tree, and what every source begins with.
pub(super) struct Layers {
    pub(super) tree: Table,
    pub(super) source: Table,
}

/// One table on its way through the crate `config`.
#[derive(Clone)]
struct Layer(Table);

/// The table may hold secrets.
impl fmt::Debug for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Layer")
    }
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, ::config::Value>, ConfigError> {
        let table: Map<String, ::config::Value> = self.0.clone().try_into().map_err(|error| ConfigError::Foreign(Box::new(error)))?;
        Ok(Map::from([(ROOT.to_owned(), table.into())]))
    }
}

/// Lays everything together. What cannot be read is a fault and left out.
pub(super) fn gather(files: &[PathBuf], environment: impl Iterator<Item = (String, String)>, faults: &mut Faults) -> Layers {
    let mut defaults = parse("config/default.toml", DEFAULTS, faults);
    let source = take_template(&mut defaults);
    let mut layers = vec![defaults];
    for file in files {
        let name = file.display().to_string();
        match read(file) {
            Ok(text) => layers.push(parse(&name, &text, faults)),
            Err(sentence) => faults.push(name, sentence),
        }
    }
    let below = lay(layers, faults);
    let variables = variables(&below, environment, faults);
    Layers { tree: lay([below, variables], faults), source }
}

/// Lays tables over one another, the last on top: sections are merged, anything else is replaced.
pub(super) fn lay(layers: impl IntoIterator<Item = Table>, faults: &mut Faults) -> Table {
    let builder = layers.into_iter().fold(::config::Config::builder(), |builder, layer| builder.add_source(Layer(layer)));
    builder.build().and_then(|laid| laid.get(ROOT)).unwrap_or_else(|_| {
        faults.push(ROOT, "cannot be laid over one another; take out quoted keys that begin with $");
        Table::new()
    })
}

/// `sources.NAME` of the default file is no source: it is what each of them begins with.
fn take_template(tree: &mut Table) -> Table {
    match tree.remove("sources") {
        Some(Value::Table(mut sources)) => match sources.remove("NAME") {
            Some(Value::Table(template)) => template,
            _ => Table::new(),
        },
        _ => Table::new(),
    }
}

fn read(file: &Path) -> Result<String, String> {
    let unreadable = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => "there is no such file; give another with --config".to_owned(),
        ErrorKind::PermissionDenied => "may not be read; give this user the right to".to_owned(),
        ErrorKind::InvalidData => "is not UTF-8 text".to_owned(),
        kind => format!("cannot be read: {kind}"),
    };
    let mut text = String::new();
    File::open(file).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)).map_err(unreadable)?;
    if text.len() as u64 > FILE_BYTES_MAX { Err("is larger than 1MiB; this is no configuration file".into()) } else { Ok(text) }
}

/// The whole error of the library would quote the line: only its message and the place are told.
fn parse(name: &str, text: &str, faults: &mut Faults) -> Table {
    toml::from_str(text).unwrap_or_else(|error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        faults.push(name, format!("line {line} is not TOML: {}", error.message()));
        Table::new()
    })
}

/// All variables in one table, to be laid over the one `below`; those that are not ours are passed over.
fn variables(below: &Table, environment: impl Iterator<Item = (String, String)>, faults: &mut Faults) -> Table {
    let mut tree = Table::new();
    let mut variables: Vec<_> = environment.collect();
    variables.sort();
    for (name, value) in variables {
        if let Some(name) = name.strip_prefix(PREFIX) {
            set(&mut tree, below, (&name.to_lowercase(), value), faults);
        }
    }
    tree
}

fn set(tree: &mut Table, below: &Table, (name, value): (&str, String), faults: &mut Faults) {
    let mut keys: Vec<&str> = name.split("__").collect();
    if keys.len() > DEPTH_MAX + 1 {
        return faults.push(join("", name), "there is no such key; no section lies so deep");
    }
    let full = keys.iter().fold(String::new(), |path, key| join(&path, key));
    let last = keys.pop().unwrap_or_default();
    let (mut at, mut below, mut path) = (tree, Some(below), String::new());
    for key in keys {
        path = join(&path, key);
        let under = below.and_then(|table| table.get(key));
        below = under.and_then(Value::as_table);
        let section = if under.is_some() && below.is_none() { None } else { Some(at.entry(key).or_insert_with(|| Table::new().into())) };
        let Some(Value::Table(inner)) = section else {
            return faults.push(full, format!("there is no such key: {path} is no section"));
        };
        at = inner;
    }
    at.insert(last.to_owned(), Value::String(value));
}
