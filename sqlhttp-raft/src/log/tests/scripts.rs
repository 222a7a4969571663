//! Goldenscripts of the log (`scripts/`). They show what operations write to the disk, and how recovery treats the log
//! after crashes and damage.
//!
//! A script consists of commands, `---`, and the output of the commands. The name of a script is the rule that it
//! tests. `UPDATE_GOLDENFILES=1 cargo test` replaces the output with the actual one; read the difference before you
//! commit it.
//!
//! An entry is written `INDEX@TERM`, with its index counted from 1. FILE is the number of a segment, or `vote`. The log
//! is on a [`SimulatedDisk`].
//!
//! * `open [applied=ID] [installed=ID] [segment=BYTES]`: Opens the log and prints its state. `applied`: the last entry
//!   that the database has applied; by default the last purged entry. `installed`: the marker of an installed snapshot.
//!   `segment`: the length from which a segment is full; by default 1024 bytes.
//! * `append ID… [kind=blank|command|members] [bytes=N]`: Appends entries in one call, and waits until they are
//!   durable.
//! * `begin ID… [kind=…] [bytes=N]`: Appends each entry in a call of its own, and does not wait.
//! * `pending`: Waits for the appends that `begin` has started, and prints their results.
//! * `vote TERM NODE [committed=true]`: Saves a vote.
//! * `committed ID`: Records the last committed entry.
//! * `truncate [ID]`: Removes the entries after ID; without an ID, removes all entries.
//! * `purge ID`: Removes the entries up to and including ID, and waits until the purged segments are removed, or until
//!   the first removal is blocked.
//! * `state`: Prints the state of the log, and the entries that can be read.
//! * `files`: Prints the frames of each segment: offset, content, and the offset up to which the segment was durable
//!   when the frame was written.
//! * `votes`: Prints the slots of the file `vote`.
//! * `close`: Closes the log.
//! * `hold [removals]`, `release`: `hold` blocks the operations of the disk, or only the removals of files. `release`
//!   lets them continue, and then does the same as `pending`.
//! * `waits`: Waits until the log is waiting for its disk, and prints the reason.
//! * `crash all|nothing|killed|SEED`: Ends the process. What was not synced is lost (`all`), kept (`nothing`), kept but
//!   still not synced (`killed`), or lost in part (`SEED`). A disk operation that is blocked at that moment is carried
//!   out, but not synced.
//! * `fault none|full|cut|fail [at=N]`: Sets the next fault of the disk: none; no free space; the power fails at
//!   operation N; or operation N alone fails. Operations are counted from 0.
//! * `flip FILE OFFSET`: Inverts the lowest bit of a byte. The change is durable.
//! * `zero FILE FROM [TO]`: Overwrites a part of a file with zeros. The change is durable.
//! * `fill FILE FROM TO`: Overwrites a part of a file with the byte 0xA5. The change is durable.
//! * `cut FILE LENGTH`: Shortens a file. The change is durable.
//! * `head FILE VERSION`: Rewrites the header of a segment with another format version. A header of version 1 contains
//!   no identity.
//! * `copy FILE TO`, `remove FILE`: Copies or removes a file. The change is durable.
//!
//! With the tag `[ops]`, the output of a command begins with the disk operations that it caused. If the output is an
//! error, the disk operations follow it.

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex};

use goldenscript::{Context, Runner};
use openraft::entry::EntryPayload;
use openraft::storage::{IOFlushed, RaftLogReader as _, RaftLogStorage as _};
use openraft::type_config::async_runtime::Oneshot as _;
use openraft_rt_tokio::TokioOneshot;
use tokio::runtime::Runtime;

use super::super::disk::{Disk, DiskFile, Space};
use super::super::frame::{self, Frame};
use super::super::segment::{segment_number, segment_path};
use super::super::simulated::{Fault, Held, Loss, SimulatedDisk};
use super::super::state::{HEADER_BYTES, LogState, SegmentHeader, decode_header, encode_header};
use super::super::votes::{self, Slot, vote_path};
use super::super::{CheckedLog, LogOptions, LogStore};
use super::support::{Pending, blank, command, members};
use crate::types::{Entry, LogId, Vote, id_at, index_of};

#[test]
fn scripts() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/log/tests/scripts");
    let mut scripts: Vec<_> = std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    scripts.sort();
    let failed: Vec<_> = scripts
        .iter()
        .filter(|script| {
            let run = std::panic::AssertUnwindSafe(|| goldenscript::run(&mut LogRunner::new(), script).unwrap());
            std::panic::catch_unwind(run).is_err()
        })
        .collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

/// A command of a script. The description of the module explains the commands.
#[derive(goldenscript::Command)]
enum Command {
    Open {
        #[arg(key)]
        applied: Option<Id>,
        #[arg(key)]
        installed: Option<Id>,
        #[arg(key)]
        segment: Option<u32>,
    },
    Append {
        ids: Vec<Id>,
        #[arg(key)]
        kind: Option<String>,
        #[arg(key)]
        bytes: Option<usize>,
    },
    Begin {
        ids: Vec<Id>,
        #[arg(key)]
        kind: Option<String>,
        #[arg(key)]
        bytes: Option<usize>,
    },
    Pending,
    Vote {
        term: u64,
        node: u64,
        #[arg(key, optional)]
        committed: bool,
    },
    Committed(Id),
    Truncate(Option<Id>),
    Purge(Id),
    State,
    Files,
    Votes,
    Close,
    Hold(Option<String>),
    Release,
    Waits,
    Crash(String),
    Fault {
        fault: String,
        #[arg(key, optional)]
        at: u64,
    },
    Flip {
        file: LogFile,
        offset: u64,
    },
    Zero {
        file: LogFile,
        from: u64,
        to: Option<u64>,
    },
    Fill {
        file: LogFile,
        from: u64,
        to: u64,
    },
    Cut {
        file: LogFile,
        length: u64,
    },
    Head {
        file: LogFile,
        version: u32,
    },
    Copy {
        file: LogFile,
        to: LogFile,
    },
    Remove(LogFile),
}

/// The index of an entry, counted from 1, and its term.
#[derive(Clone, Copy)]
struct Id {
    index: u64,
    term: u64,
}

impl FromStr for Id {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (index, term) = text.split_once('@').ok_or("an entry has the form INDEX@TERM")?;
        let number = |text: &str| text.parse::<u64>().map_err(|error| error.to_string());
        Ok(Id { index: number(index)?, term: number(term)? })
    }
}

/// A file of the log: the number of a segment, or `vote`.
#[derive(Clone)]
struct LogFile(PathBuf);

impl FromStr for LogFile {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let directory = Path::new(DIRECTORY);
        Ok(LogFile(if text == "vote" { vote_path(directory) } else { segment_path(directory, text.parse()?) }))
    }
}

impl Id {
    fn log_id(self) -> LogId {
        id_at(self.term, self.index).expect("indexes begin with 1")
    }
}

struct LogRunner {
    runtime: Runtime,
    disk: RecordingDisk,
    log: Option<LogStore>,
    /// The appends that were started by `begin` and whose results have not been printed.
    pending: Vec<(Id, Pending)>,
    /// The operations of the disk that are blocked.
    held: Option<Held>,
}

type Output = Result<String, Box<dyn Error>>;

impl LogRunner {
    fn new() -> LogRunner {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let disk = RecordingDisk { disk: SimulatedDisk::new(), operations: Arc::default() };
        LogRunner { runtime, disk, log: None, pending: Vec::new(), held: None }
    }

    fn open(&mut self, applied: Option<Id>, installed: Option<Id>, segment: Option<u32>) -> Output {
        let mut options = self.options();
        options.segment_bytes = segment.unwrap_or(options.segment_bytes);
        self.log = Some(match applied {
            Some(applied) => CheckedLog::check(options)?.open(Some(applied.log_id()), installed.map(Id::log_id))?,
            None => LogStore::open(options)?,
        });
        self.log()?.wait_until_purged_segments_are_removed();
        self.state()
    }

    fn log(&mut self) -> Result<&mut LogStore, Box<dyn Error>> {
        self.log.as_mut().ok_or_else(|| "the log is not open".into())
    }

    /// Runs an operation on the log, and waits until it is durable.
    fn change<F>(&mut self, change: impl FnOnce(LogStore) -> F) -> Output
    where
        F: Future<Output = std::io::Result<()>>,
    {
        let log = self.log()?.clone();
        self.runtime.block_on(change(log))?;
        Ok(String::new())
    }

    fn purge(&mut self, id: Id) -> Output {
        let purged = self.change(async |mut log| log.purge(id.log_id()).await);
        match self.held {
            Some(_) => self.disk.disk.wait_until_one_is_held(),
            None => self.log()?.wait_until_purged_segments_are_removed(),
        }
        purged
    }

    fn begin(&mut self, ids: &[Id], kind: Option<&str>, bytes: Option<usize>) -> Output {
        for id in ids {
            let mut log = self.log()?.clone();
            let pending = self.runtime.block_on(begin_append(&mut log, vec![entry(*id, kind, bytes)?]))?;
            self.pending.push((*id, pending));
            if self.held.is_some() {
                // The first append is at the disk; the others are queued behind it.
                self.disk.disk.wait_until_one_is_held();
            }
        }
        Ok(String::new())
    }

    fn append(&mut self, ids: &[Id], kind: Option<&str>, bytes: Option<usize>) -> Output {
        let entries: Result<Vec<Entry>, _> = ids.iter().map(|id| entry(*id, kind, bytes)).collect();
        let entries = entries?;
        self.change(async |mut log| begin_append(&mut log, entries).await?.await.map_err(std::io::Error::other)?)
    }

    fn hold(&mut self, what: Option<&str>) -> Output {
        let held = match what {
            None => Held::All,
            Some("removals") => Held::Removals,
            Some(other) => return Err(format!("there is nothing called '{other}' to hold").into()),
        };
        self.disk.disk.hold(held);
        self.held = Some(held);
        Ok(String::new())
    }

    fn release(&mut self) -> Output {
        self.held = None;
        self.disk.disk.release();
        let pending = self.report_pending();
        if let Some(log) = &self.log {
            log.wait_until_purged_segments_are_removed();
        }
        pending
    }

    fn waits(&mut self) -> Output {
        let log = self.log()?;
        loop {
            if let Some(why) = log.waits_for() {
                return Ok(why.to_string());
            }
            std::thread::yield_now();
        }
    }

    fn report_pending(&mut self) -> Output {
        let mut out = String::new();
        for (id, pending) in self.pending.drain(..) {
            match self.runtime.block_on(pending)? {
                Ok(()) => writeln!(out, "{}@{}: durable", id.index, id.term)?,
                Err(error) => writeln!(out, "{}@{}: {error}", id.index, id.term)?,
            }
        }
        Ok(out)
    }

    fn state(&mut self) -> Output {
        let mut log = self.log()?.clone();
        self.runtime.block_on(async {
            let state = log.get_log_state().await?;
            let vote = log.read_vote().await?;
            let committed = log.read_committed().await?;
            let entries = log.try_get_log_entries(..).await?;
            let entries: Vec<String> = entries.iter().map(|entry| name(&entry.log_id)).collect();
            Ok(format!(
                "vote {}, committed {}, purged {}, last {}\nentries: {}",
                vote_of(vote),
                name_or_none(committed),
                name_or_none(state.last_purged_log_id),
                name_or_none(state.last_log_id),
                if entries.is_empty() { "none".to_owned() } else { entries.join(" ") },
            ))
        })
    }

    fn crash(&mut self, loss: &str) -> Output {
        let loss = match loss {
            "all" => Loss::All,
            "nothing" => Loss::Nothing,
            "killed" => Loss::Killed,
            seed => Loss::Part(seed.parse()?),
        };
        let disk = &self.disk.disk;
        disk.set_fault(Fault::CutAt(0));
        disk.release();
        self.held = None;
        if let Some(log) = self.log.take() {
            log.close();
        }
        let out = self.report_pending();
        self.disk.disk.crash(loss);
        out
    }

    fn fault(&mut self, fault: &str, at: u64) -> Output {
        self.disk.disk.set_fault(match fault {
            "none" => Fault::None,
            "full" => Fault::Full,
            "cut" => Fault::CutAt(at),
            "fail" => Fault::FailAt(at),
            other => return Err(format!("there is no fault '{other}'").into()),
        });
        Ok(String::new())
    }

    /// Changes the bytes of a file, durably.
    fn damage(&mut self, file: &LogFile, change: impl FnOnce(&mut Vec<u8>)) -> Output {
        let file = self.disk.disk.open(&file.0)?;
        let mut bytes = vec![0; usize::try_from(file.len()?)?];
        file.read_exact_at(&mut bytes, 0)?;
        change(&mut bytes);
        file.truncate(0)?;
        file.write_all_at(&bytes, 0)?;
        file.sync()?;
        Ok(String::new())
    }

    fn copy(&mut self, from: &LogFile, to: &LogFile) -> Output {
        let bytes = self.disk.bytes(&from.0)?;
        let file = self.disk.disk.create(&to.0)?;
        file.write_all_at(&bytes, 0)?;
        file.sync()?;
        self.disk.disk.sync_directory(Path::new(DIRECTORY))?;
        Ok(String::new())
    }

    fn remove(&mut self, file: &LogFile) -> Output {
        self.disk.disk.remove(&file.0)?;
        self.disk.disk.sync_directory(Path::new(DIRECTORY))?;
        Ok(String::new())
    }

    fn files(&mut self) -> Output {
        let mut out = String::new();
        for file in self.disk.disk.list(Path::new(DIRECTORY))? {
            let Some(number) = segment_number(&file) else { continue };
            let bytes = self.disk.bytes(&Path::new(DIRECTORY).join(&file))?;
            writeln!(out, "{file}: {} bytes", bytes.len())?;
            describe(&bytes, number, &mut out)?;
        }
        Ok(out)
    }

    fn votes(&mut self) -> Output {
        let mut out = String::new();
        let found = votes::read(&self.options())?;
        for (number, slot) in found.slots.iter().enumerate() {
            match slot {
                Slot::Valid { sequence, vote } => {
                    writeln!(out, "slot {number}: {sequence}. vote {}", vote_of(Some(*vote)))?;
                }
                other => writeln!(out, "slot {number}: {other:?}")?,
            }
        }
        Ok(out)
    }

    fn options(&self) -> LogOptions {
        let options = LogOptions::new(Path::new(DIRECTORY));
        LogOptions { segment_bytes: 1024, cache_bytes: 0, disk: Arc::new(self.disk.clone()), ..options }
    }
}

impl Runner for LogRunner {
    type Command = Command;

    fn run(&mut self, command: &Command, context: &Context) -> Output {
        self.disk.operations.lock().unwrap().clear();
        let result = match command {
            Command::Open { applied, installed, segment } => self.open(*applied, *installed, *segment),
            Command::Append { ids, kind, bytes } => self.append(ids, kind.as_deref(), *bytes),
            Command::Begin { ids, kind, bytes } => self.begin(ids, kind.as_deref(), *bytes),
            Command::Pending => self.report_pending(),
            Command::Vote { term, node, committed } => {
                let vote = if *committed { Vote::new_committed(*term, *node) } else { Vote::new(*term, *node) };
                self.change(async |mut log| log.save_vote(&vote).await)
            }
            Command::Committed(id) => self.change(async |mut log| log.save_committed(Some(id.log_id())).await),
            Command::Truncate(id) => self.change(async |mut log| log.truncate_after(id.map(Id::log_id)).await),
            Command::Purge(id) => self.purge(*id),
            Command::State => self.state(),
            Command::Files => self.files(),
            Command::Votes => self.votes(),
            Command::Close => {
                self.log()?.close();
                self.log = None;
                Ok(String::new())
            }
            Command::Hold(what) => self.hold(what.as_deref()),
            Command::Release => self.release(),
            Command::Waits => self.waits(),
            Command::Crash(loss) => self.crash(loss),
            Command::Fault { fault, at } => self.fault(fault, *at),
            Command::Flip { file, offset } => self.damage(file, |bytes| bytes[*offset as usize] ^= 1),
            Command::Zero { file, from, to } => self.damage(file, |bytes| {
                let to = to.map_or(bytes.len(), |to| to as usize);
                bytes[*from as usize..to].fill(0);
            }),
            Command::Fill { file, from, to } => {
                self.damage(file, |bytes| bytes[*from as usize..*to as usize].fill(0xA5))
            }
            Command::Cut { file, length } => self.damage(file, |bytes| bytes.truncate(*length as usize)),
            Command::Head { file, version } => self.damage(file, |bytes| set_version(bytes, *version)),
            Command::Copy { file, to } => self.copy(file, to),
            Command::Remove(file) => self.remove(file),
        };
        if !context.tags.contains("ops") {
            return result;
        }
        let operations = self.disk.operations.lock().unwrap();
        let operations = if operations.is_empty() { "no operation".to_owned() } else { operations.join("\n") };
        match result {
            Ok(output) => Ok(format!("{operations}\n{output}")),
            Err(error) => Err(format!("{error}\n{operations}").into()),
        }
    }
}

fn entry(id: Id, kind: Option<&str>, bytes: Option<usize>) -> Result<Entry, Box<dyn Error>> {
    let Id { index, term } = id;
    match kind.unwrap_or("blank") {
        "blank" => Ok(blank(term, index - 1)),
        "command" => Ok(command(term, index - 1, bytes.unwrap_or(20))),
        "members" => Ok(members(term, index - 1)),
        other => Err(format!("there is no kind '{other}'").into()),
    }
}

/// Starts an append without waiting for the disk.
async fn begin_append(log: &mut LogStore, entries: Vec<Entry>) -> std::io::Result<Pending> {
    let (reply, pending) = TokioOneshot::channel();
    log.append(entries, IOFlushed::signal(reply)).await?;
    Ok(pending)
}

/// Sets the format version in the header of a segment, and updates the checksum.
fn set_version(bytes: &mut [u8], version: u32) {
    let SegmentHeader::Valid { number, state } = decode_header(bytes) else { panic!("the head is not valid") };
    let identity = state.identity.filter(|_| version > 1);
    let mut head = encode_header(number, &LogState { identity, ..state });
    head[8..12].copy_from_slice(&version.to_le_bytes());
    let checksum = crc32fast::hash(&head[..HEADER_BYTES - 4]);
    head[HEADER_BYTES - 4..].copy_from_slice(&checksum.to_le_bytes());
    bytes[..HEADER_BYTES].copy_from_slice(&head);
}

/// Prints the header of a segment, its frames, and the bytes between them.
fn describe(bytes: &[u8], number: u64, out: &mut String) -> Result<(), Box<dyn Error>> {
    match decode_header(bytes) {
        SegmentHeader::Valid { number, state } => {
            let version = bytes[8];
            let identity = if state.identity.is_some() { "an identity" } else { "no identity" };
            writeln!(
                out,
                "  0 segment {number}, version {version}, vote {}, committed {}, purged {}, last {}, {identity}",
                vote_of(state.vote),
                name_or_none(state.committed),
                name_or_none(state.purged),
                name_or_none(state.last),
            )?;
        }
        SegmentHeader::Newer(version) => writeln!(out, "  0 version {version}")?,
        SegmentHeader::Invalid => writeln!(out, "  0 no head")?,
    }
    let mut at = HEADER_BYTES;
    while at < bytes.len() {
        let Some(next) = (at..bytes.len()).find(|next| frame::decode_at(bytes, number, 0, *next).is_some()) else {
            break;
        };
        if next > at {
            writeln!(out, "  {at} no frame")?;
        }
        at = next;
        if let Some(found) = frame::decode_at(bytes, number, 0, at) {
            writeln!(out, "  {at} {}, durable {}", frame_of(&frame::parse(&found)?), found.durable)?;
            at += found.len();
        }
    }
    let rest = bytes.get(at..).unwrap_or_default();
    if rest.iter().any(|byte| *byte != 0) {
        writeln!(out, "  {at} no frame")?;
    } else if !rest.is_empty() {
        writeln!(out, "  {at} zeros")?;
    }
    Ok(())
}

fn frame_of(frame: &Frame) -> String {
    match frame {
        Frame::Entry(entry) => {
            let kind = match &entry.payload {
                EntryPayload::Blank => "blank".to_owned(),
                EntryPayload::Normal(command) => format!("command of {} bytes", command.bytes().len()),
                EntryPayload::Membership(_) => "members".to_owned(),
            };
            format!("entry {} {kind}", name(&entry.log_id))
        }
        Frame::Truncate(last) => format!("truncate after {}", name_or_none(*last)),
        Frame::Purge(id) => format!("purge up to {}", name(id)),
        Frame::Vote(vote) => format!("vote {}", vote_of(Some(*vote))),
        Frame::Committed(id) => format!("committed {}", name(id)),
        Frame::SegmentEnd => "end".to_owned(),
    }
}

fn vote_of(vote: Option<Vote>) -> String {
    vote.map_or("none".to_owned(), |vote| {
        let committed = if vote.committed { " committed" } else { "" };
        format!("(term {} node {}{committed})", vote.leader_id.term, vote.leader_id.voted_for)
    })
}

fn name(id: &LogId) -> String {
    format!("{}@{}", index_of(id), id.leader_id.term)
}

fn name_or_none(id: Option<LogId>) -> String {
    id.map_or("none".to_owned(), |id| name(&id))
}

const DIRECTORY: &str = "/log";

/// A simulated disk that records the operations which the log performs.
#[derive(Clone)]
struct RecordingDisk {
    disk: SimulatedDisk,
    operations: Arc<Mutex<Vec<String>>>,
}

impl RecordingDisk {
    fn record(&self, operation: String) {
        self.operations.lock().unwrap().push(operation);
    }

    fn file(&self, path: &Path, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(RecordingFile { disk: self.clone(), name: file_name(path), file })
    }

    fn bytes(&self, path: &Path) -> std::io::Result<Vec<u8>> {
        let file = self.disk.open(path)?;
        let mut bytes = vec![0; file.len()? as usize];
        file.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

impl Disk for RecordingDisk {
    fn list(&self, directory: &Path) -> std::io::Result<Vec<String>> {
        self.disk.list(directory)
    }

    fn create(&self, path: &Path) -> std::io::Result<Arc<dyn DiskFile>> {
        self.record(format!("create {}", file_name(path)));
        Ok(self.file(path, self.disk.create(path)?))
    }

    fn open(&self, path: &Path) -> std::io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(path, self.disk.open(path)?))
    }

    fn read(&self, path: &Path) -> std::io::Result<Vec<u8>> {
        self.disk.read(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> std::io::Result<()> {
        self.record(format!("rename {} to {}", file_name(from), file_name(to)));
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> std::io::Result<()> {
        self.record(format!("remove {}", file_name(path)));
        self.disk.remove(path)
    }

    fn sync_directory(&self, directory: &Path) -> std::io::Result<()> {
        self.record("sync directory".to_owned());
        self.disk.sync_directory(directory)
    }

    fn space(&self, directory: &Path) -> Option<Space> {
        self.disk.space(directory)
    }

    fn lock(&self, directory: &Path) -> std::io::Result<Option<Box<dyn Send + Sync>>> {
        self.disk.lock(directory)
    }
}

struct RecordingFile {
    disk: RecordingDisk,
    name: String,
    file: Arc<dyn DiskFile>,
}

impl DiskFile for RecordingFile {
    fn len(&self) -> std::io::Result<u64> {
        self.file.len()
    }

    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> std::io::Result<()> {
        self.file.read_exact_at(bytes, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> std::io::Result<()> {
        let what = if bytes.iter().all(|byte| *byte == 0) { "zeros" } else { "bytes" };
        self.disk.record(format!("write {} {} {what} at {offset}", self.name, bytes.len()));
        self.file.write_all_at(bytes, offset)
    }

    fn truncate(&self, len: u64) -> std::io::Result<()> {
        self.disk.record(format!("truncate {} to {len}", self.name));
        self.file.truncate(len)
    }

    fn sync(&self) -> std::io::Result<()> {
        self.disk.record(format!("sync {}", self.name));
        self.file.sync()
    }
}
