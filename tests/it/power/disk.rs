//! A disk as the calls of a trace leave it: what is on it for good, and what a power cut may leave of the rest.
//!
//! A sync of a file makes the writes durable that had returned before it began; a sync of a folder does so for names made, moved and
//! taken away in it. Nothing else is promised: of what waits, pages, sectors, whole writes, lengths and names reach the
//! disk in any selection.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use rand::Rng;
use rand::rngs::SmallRng;

use crate::trace::Call;

/// Files and folders (`None`) by their paths within the root.
pub(crate) type Image = BTreeMap<PathBuf, Option<Vec<u8>>>;

/// What becomes of what was not synced.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Manner {
    /// All of it is lost.
    Dropped,
    /// All of it is there: the machine went down just after it wrote everything back.
    Kept,
    /// Each piece of so many bytes is as it stood at any moment since the last sync.
    Torn(usize),
    /// Each write is there or not, whatever their order.
    Reordered,
}

impl Manner {
    /// Any of them, the treacherous ones more often.
    pub(crate) fn any(random: &mut SmallRng) -> Self {
        match random.random_range(0..10) {
            0 => Self::Dropped,
            1 => Self::Kept,
            2..=4 => Self::Torn(4096),
            5 | 6 => Self::Torn(512),
            _ => Self::Reordered,
        }
    }
}

/// Something done to a file.
enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
}

/// Something done to names: those that lead to something else now, or to nothing.
type Naming = Vec<(PathBuf, Option<Entry>)>;

#[derive(Clone, Copy, PartialEq)]
enum Entry {
    Folder,
    File(usize),
}

/// What waits for a sync, and the line where the call that did it returned.
struct Pending<T> {
    began: usize,
    ended: Option<usize>,
    what: T,
}

#[derive(Default)]
struct File {
    durable: Vec<u8>,
    pending: Vec<Pending<Change>>,
}

/// The disk below one folder.
pub(crate) struct Disk {
    root: PathBuf,
    files: Vec<File>,
    /// As programs see them.
    names: BTreeMap<PathBuf, Entry>,
    durable_names: BTreeMap<PathBuf, Entry>,
    pending_names: Vec<Pending<Naming>>,
    /// Files by descriptor, and where the next write goes.
    open: HashMap<String, (usize, usize)>,
}

impl Disk {
    /// A disk that holds `image` for good.
    pub(crate) fn new(root: &Path, image: &Image) -> Self {
        let mut disk = Self {
            root: root.to_owned(),
            files: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            pending_names: Vec::new(),
            open: HashMap::new(),
        };
        for (path, content) in image {
            let entry = content.as_ref().map_or(Entry::Folder, |content| disk.add(content.clone()));
            disk.names.insert(path.clone(), entry);
        }
        disk.durable_names = disk.names.clone();
        disk
    }

    fn add(&mut self, durable: Vec<u8>) -> Entry {
        self.files.push(File { durable, pending: Vec::new() });
        Entry::File(self.files.len() - 1)
    }

    /// A call begins: what it does may happen from now on.
    pub(crate) fn begin(&mut self, call: &Call) {
        match call.name.as_str() {
            "write" | "pwrite64" => self.write(call),
            "ftruncate" => {
                if let Some((file, _)) = self.opened(call) {
                    self.change(file, call, Change::Length(call.number(1)));
                }
            }
            "rename" => {
                if let (Some(from), Some(to)) = (self.within(&call.path(0)), self.within(&call.path(1))) {
                    let entry = self.names.get(&from).copied();
                    self.rename(call, vec![(from, None), (to, entry)]);
                }
            }
            "unlink" => {
                if let Some(path) = self.within(&call.path(0)) {
                    self.rename(call, vec![(path, None)]);
                }
            }
            "mkdir" => {
                if let Some(path) = self.within(&call.path(0)).filter(|_| call.result == 0) {
                    self.rename(call, vec![(path, Some(Entry::Folder))]);
                }
            }
            // Ballast holds nothing: whatever is left of it is as good.
            "fallocate" if call.path(0).ends_with("ballast") => {}
            "openat" | "fsync" | "fdatasync" | "sync_file_range" | "sendto" | "sendmsg" => {}
            other => {
                let root = self.root.to_string_lossy();
                let touches = call.arguments.iter().any(|argument| argument.contains(root.as_ref()));
                assert!(!touches, "{other} changes files in a way that is not modelled");
            }
        }
    }

    /// A call returns: a sync has done its work, and the next one sees what this call did.
    pub(crate) fn end(&mut self, call: &Call) {
        match call.name.as_str() {
            "openat" if call.succeeded() => self.opens(call),
            "fsync" | "fdatasync" if call.succeeded() => self.sync(call),
            "write" | "pwrite64" | "ftruncate" | "rename" | "unlink" | "mkdir" => self.settle(call),
            _ => {}
        }
    }

    /// A process is gone, whatever it was about: its calls are over, and its descriptors mean nothing any more.
    pub(crate) fn process_ended(&mut self, line: usize) {
        let changes = self.files.iter_mut().flat_map(|file| &mut file.pending);
        changes.for_each(|change| change.ended = change.ended.or(Some(line)));
        self.pending_names.iter_mut().for_each(|naming| naming.ended = naming.ended.or(Some(line)));
        self.open.clear();
    }

    fn within(&self, path: &Path) -> Option<PathBuf> {
        path.strip_prefix(&self.root).ok().map(Path::to_owned)
    }

    /// The file behind a call's descriptor, and where its next write goes.
    fn opened(&self, call: &Call) -> Option<(usize, usize)> {
        self.within(&call.path(0))?;
        self.open.get(call.arguments[0].split_once('<')?.0).copied()
    }

    fn opens(&mut self, call: &Call) {
        let descriptor = call.result.to_string();
        self.open.remove(&descriptor);
        let Some(path) = self.within(&call.path(1)) else { return };
        let flags = &call.arguments[2];
        let held = self.names.get(&path).copied();
        if held == Some(Entry::Folder) || path.as_os_str().is_empty() {
            return;
        }
        assert!(!path.parent().is_some_and(|parent| parent.ends_with("blobs")), "a value left sled's log for a file that it never syncs");
        let file = match held {
            Some(Entry::File(file)) => file,
            _ => {
                assert!(flags.contains("O_CREAT"), "{} was opened and never made", path.display());
                let entry = self.add(Vec::new());
                self.rename(call, vec![(path, Some(entry))]);
                self.settle(call);
                self.files.len() - 1
            }
        };
        assert!(!flags.contains("O_APPEND"), "appending is not modelled");
        if flags.contains("O_TRUNC") {
            self.change(file, call, Change::Length(0));
            self.settle(call);
        }
        self.open.insert(descriptor, (file, 0));
    }

    fn write(&mut self, call: &Call) {
        let Some((file, place)) = self.opened(call) else { return };
        let mut bytes = call.bytes(1);
        if call.ended.is_some() {
            bytes.truncate(usize::try_from(call.result).unwrap_or_default());
        }
        if call.name == "pwrite64" {
            return self.change(file, call, Change::Write(call.number(3), bytes));
        }
        let descriptor = call.arguments[0].split_once('<').unwrap().0.to_owned();
        self.open.insert(descriptor, (file, place + bytes.len()));
        self.change(file, call, Change::Write(place, bytes));
    }

    fn change(&mut self, file: usize, call: &Call, what: Change) {
        self.files[file].pending.push(Pending { began: call.began, ended: None, what });
    }

    fn rename(&mut self, call: &Call, naming: Naming) {
        if call.ended.is_some() && !call.succeeded() {
            return;
        }
        rename(&mut self.names, &naming);
        self.pending_names.push(Pending { began: call.began, ended: None, what: naming });
    }

    fn settle(&mut self, call: &Call) {
        let changes = self.files.iter_mut().flat_map(|file| &mut file.pending);
        changes.filter(|change| change.began == call.began).for_each(|change| change.ended = call.ended);
        self.pending_names.iter_mut().filter(|naming| naming.began == call.began).for_each(|naming| naming.ended = call.ended);
    }

    fn sync(&mut self, call: &Call) {
        let Some(path) = self.within(&call.path(0)) else { return };
        let over = |ended: Option<usize>| ended.is_some_and(|ended| ended < call.began);
        if let Some((file, _)) = self.opened(call) {
            let File { durable, pending } = &mut self.files[file];
            pending.extract_if(.., |change| over(change.ended)).for_each(|change| change.what.apply(durable));
            return;
        }
        let here = |naming: &Naming| naming.iter().any(|(name, _)| name.parent() == Some(&path));
        let done = self.pending_names.extract_if(.., |naming| over(naming.ended) && here(&naming.what));
        done.for_each(|naming| rename(&mut self.durable_names, &naming.what));
    }

    /// Whether anything waits to be synced.
    pub(crate) fn is_dirty(&self) -> bool {
        !self.pending_names.is_empty() || self.files.iter().any(|file| !file.pending.is_empty())
    }

    /// What a power cut at this moment leaves.
    pub(crate) fn image(&self, manner: Manner, random: &mut SmallRng) -> Image {
        let names = match manner {
            Manner::Dropped => self.durable_names.clone(),
            Manner::Kept => self.names.clone(),
            Manner::Torn(_) | Manner::Reordered => self.some_names(random),
        };
        let mut image = Image::new();
        for (path, entry) in &names {
            // In order of paths, a folder comes before what is in it.
            if !path.parent().is_some_and(|parent| parent.as_os_str().is_empty() || image.get(parent) == Some(&None)) {
                continue;
            }
            let content = match entry {
                Entry::Folder => None,
                Entry::File(file) => Some(self.files[*file].after(manner, random)),
            };
            image.insert(path.clone(), content);
        }
        image
    }

    /// With a journal of names, the first ones are there; without, any.
    fn some_names(&self, random: &mut SmallRng) -> BTreeMap<PathBuf, Entry> {
        let mut names = self.durable_names.clone();
        let (journal, first) = (random.random_bool(0.5), random.random_range(0..=self.pending_names.len()));
        for (place, naming) in self.pending_names.iter().enumerate() {
            if if journal { place < first } else { random.random_bool(0.5) } {
                rename(&mut names, &naming.what);
            }
        }
        names
    }
}

fn rename(names: &mut BTreeMap<PathBuf, Entry>, naming: &Naming) {
    for (name, entry) in naming {
        match entry {
            Some(entry) => drop(names.insert(name.clone(), *entry)),
            None => drop(names.remove(name)),
        }
    }
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write(at, bytes) => {
                content.resize(content.len().max(at + bytes.len()), 0);
                content[*at..at + bytes.len()].copy_from_slice(bytes);
            }
            Self::Length(length) => content.resize(*length, 0),
        }
    }

    fn length_after(&self, length: usize) -> usize {
        match self {
            Self::Write(at, bytes) => length.max(at + bytes.len()),
            Self::Length(length) => *length,
        }
    }
}

impl File {
    fn after(&self, manner: Manner, random: &mut SmallRng) -> Vec<u8> {
        let mut content = self.durable.clone();
        match manner {
            Manner::Dropped => {}
            Manner::Kept => self.pending.iter().for_each(|change| change.what.apply(&mut content)),
            Manner::Reordered => {
                self.pending.iter().filter(|_| random.random_bool(0.5)).for_each(|change| change.what.apply(&mut content));
                content.resize(self.some_length(random), 0);
            }
            Manner::Torn(piece) => {
                self.tear(&mut content, piece, random);
                content.resize(self.some_length(random), 0);
            }
        }
        content
    }

    /// The length at any moment since the last sync, the first and the last more often.
    fn some_length(&self, random: &mut SmallRng) -> usize {
        let mut lengths = vec![self.durable.len()];
        for change in &self.pending {
            lengths.push(change.what.length_after(lengths[lengths.len() - 1]));
        }
        match random.random_range(0..4) {
            0 => lengths[0],
            1 => lengths[random.random_range(0..lengths.len())],
            _ => lengths[lengths.len() - 1],
        }
    }

    /// Brings each piece to any moment since the last sync.
    fn tear(&self, content: &mut Vec<u8>, piece: usize, random: &mut SmallRng) {
        let end = self.pending.iter().fold(content.len(), |end, change| end.max(change.what.length_after(end)));
        content.resize(end, 0);
        let mut states: HashMap<usize, Vec<(usize, &[u8])>> = HashMap::new();
        let zeros = vec![0; end];
        for change in &self.pending {
            let (at, bytes) = match &change.what {
                Change::Write(at, bytes) => (*at, bytes.as_slice()),
                Change::Length(length) => (*length, &zeros[(*length).min(end)..]),
            };
            let mut done = 0;
            while done < bytes.len() {
                let place = at + done;
                let length = (piece - place % piece).min(bytes.len() - done);
                states.entry(place / piece).or_default().push((place, &bytes[done..done + length]));
                done += length;
            }
        }
        let mut places: Vec<_> = states.into_iter().collect();
        places.sort_unstable_by_key(|(place, _)| *place);
        for (_, states) in places {
            let reached = random.random_range(0..=states.len());
            for (at, bytes) in &states[..reached] {
                content[*at..at + bytes.len()].copy_from_slice(bytes);
            }
        }
    }
}

/// Writes an image down below `root`.
pub(crate) fn restore(image: &Image, root: &Path) {
    for (path, content) in image {
        match content {
            None => fs::create_dir(root.join(path)).unwrap(),
            Some(content) => fs::write(root.join(path), content).unwrap(),
        }
    }
}
