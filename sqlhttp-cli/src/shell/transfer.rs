//! Transfers whole databases.

use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indicatif::ProgressBar;
use sqlhttp_rqlite::client::{
    BodySource, Changes, Client, ClientError, HttpRequest, HttpResponse, Method, ResponseBody as _, StatementResult,
    Transport, decode_reply,
};
use sqlhttp_rqlite::{BackupFormat, Params};

use super::{Shell, ShellError, succeeded};
use crate::database_file;
use crate::partial_file::{PartialFile, at, with_suffix};
use crate::progress::{self, Counted};

impl<T: Transport + Clone> Shell<T> {
    /// Writes a backup to a file. Checks that all pages have arrived and, if `check` is set, the content.
    pub(super) async fn backup(&mut self, file: &Path, check: bool) -> Result<(), ShellError> {
        let received = download(&self.client, file, Params::default()).await?;
        // A pipe or a device has no file that can be checked.
        if let Some(partial) = received.partial().map(Path::to_owned) {
            // Checking the content can take long. Ctrl-C does not wait for it.
            let checked = tokio::task::spawn_blocking(move || {
                database_file::check_length(&partial)?;
                if check { database_file::check_content(&partial) } else { Ok(()) }
            });
            let checked = checked.await.unwrap_or_else(|error| Err(error.to_string()));
            checked.map_err(|why| ShellError::Invalid(format!("{}: {why}", file.display())))?;
        }
        received.commit()?;
        Ok(writeln!(self.out, "backup file written successfully")?)
    }

    /// Writes the SQL text of the database to a file. If no tables are given, it contains all.
    pub(super) async fn dump(&mut self, file: &Path, tables: Vec<String>) -> Result<(), ShellError> {
        let params = Params::default().backup_format(BackupFormat::Sql).tables(tables);
        let received = download(&self.client, file, params).await?;
        if let Some(partial) = received.partial() {
            let complete = ends_with_commit(partial).map_err(at(file))?;
            if !complete {
                let why = "what arrived does not end with COMMIT, so it is no complete SQL text";
                return Err(ShellError::Invalid(format!("{}: {why}", file.display())));
            }
        }
        received.commit()?;
        Ok(writeln!(self.out, "SQL text file written successfully")?)
    }

    /// Replaces the content of the database with that of a database file, or executes the statements of an SQL file.
    pub(super) async fn restore(&mut self, file: &Path) -> Result<(), ShellError> {
        let is_database = is_database(file)?;
        if is_database {
            refuse_wal(file)?;
        }
        let media_type = if is_database { "application/octet-stream" } else { "text/plain" };
        let (status, body) = self.upload(file, "db/load", media_type).await?;
        succeeded(status, &body)?;
        self.schema_changed = true;
        if !is_database {
            let reply = decode_reply(status, &body).map_err(ClientError::from)?;
            if let Some(StatementResult::Failed(message)) =
                reply.results.iter().find(|result| matches!(result, StatementResult::Failed(_)))
            {
                return Err(ShellError::Statement(message.clone()));
            }
            let last = match reply.results.last() {
                Some(StatementResult::Changed(last)) => *last,
                _ => Changes::default(),
            };
            writeln!(self.out, "last inserted ID: {}", last.last_insert_id.unwrap_or(0))?;
            writeln!(self.out, "rows affected: {}", last.rows_affected)?;
        }
        Ok(writeln!(self.out, "Database restored successfully.")?)
    }

    /// Starts a node that is alone with the content of a database file.
    pub(super) async fn boot(&mut self, file: &Path) -> Result<(), ShellError> {
        if !is_database(file)? {
            return Err(ShellError::Invalid(format!("{} is not a valid SQLite file", file.display())));
        }
        refuse_wal(file)?;
        let (status, body) = self.upload(file, "boot", "application/octet-stream").await?;
        succeeded(status, &body)?;
        self.schema_changed = true;
        Ok(writeln!(self.out, "Node booted successfully.")?)
    }

    /// Sends a file. Returns the status and the body of the response.
    async fn upload(&self, path: &Path, resource: &str, media_type: &str) -> Result<(u16, Vec<u8>), ShellError> {
        let metadata = std::fs::metadata(path).map_err(at(path))?;
        if !metadata.is_file() {
            let why = "is not a regular file, so its length is unknown; write its content to a file first";
            return Err(ShellError::Invalid(format!("{} {why}", path.display())));
        }
        let length = metadata.len();
        let bar = progress::bytes(path.display().to_string(), Some(length));
        let source: Arc<dyn BodySource> = Arc::new(FileSource { path: path.to_owned(), length, bar });
        let target = self.client.target(resource, &Params::default());
        let request = HttpRequest::new(Method::Post, target).with_body(media_type, source).without_time_limit();
        let response = self.client.send_whole(request).await?;
        if response.status == 200 {
            check_server(&response)?;
        }
        Ok((response.status, response.body))
    }
}

/// The header field that each server of rqlite's API sends.
const VERSION_FIELD: &str = "x-rqlite-version";

/// Checks that a response comes from a server of rqlite's API, and not for example from a proxy.
fn check_server<B>(response: &HttpResponse<B>) -> Result<(), ShellError> {
    match response.header(VERSION_FIELD) {
        Some(_) => Ok(()),
        None => {
            let why = format!("the response lacks the header field {VERSION_FIELD}: another program has sent it");
            Err(ShellError::Invalid(why))
        }
    }
}

/// Whether a file ends with the statement that ends a dump.
fn ends_with_commit(file: &Path) -> io::Result<bool> {
    const END_BYTES: u64 = 64;
    let mut file = File::open(file)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(END_BYTES)))?;
    let mut end = Vec::new();
    file.read_to_end(&mut end)?;
    Ok(end.trim_ascii_end().ends_with(b"COMMIT;"))
}

/// Refuses a database file with changes that are only in its WAL: they would be lost.
fn refuse_wal(file: &Path) -> Result<(), ShellError> {
    let wal = with_suffix(file, "-wal");
    match std::fs::metadata(&wal) {
        Ok(metadata) if metadata.len() > 0 => {
            let why = "contains changes that are not in the database file; close the programs that use the database, \
                       or copy it with VACUUM INTO";
            Err(ShellError::Invalid(format!("{} {why}", wal.display())))
        }
        _ => Ok(()),
    }
}

/// Downloads a backup. The file appears when the caller commits it.
///
/// # Errors
/// The server refuses the request, the connection fails, or the file cannot be written.
pub(crate) async fn download<T: Transport>(
    client: &Client<T>,
    file: &Path,
    params: Params,
) -> Result<PartialFile, ShellError> {
    let request = HttpRequest::new(Method::Get, client.target("db/backup", &params)).without_time_limit();
    let (host, mut response) = client.send(request).await?;
    if response.status != 200 {
        let text = response.body.chunk().await.ok().flatten().unwrap_or_default();
        succeeded(response.status, &text)?;
    }
    check_server(&response)?;
    let length = response.header("content-length").and_then(|length| length.parse().ok());
    let bar = progress::bytes(file.display().to_string(), length);
    let mut partial = PartialFile::create(file)?;
    loop {
        match response.body.chunk().await {
            Ok(Some(chunk)) => {
                partial.write(&chunk)?;
                bar.inc(chunk.len() as u64);
            }
            Ok(None) => return Ok(partial),
            Err(error) => return Err(ClientError::Lost { host, reason: error.reason().to_owned() }.into()),
        }
    }
}

/// Whether a file is a database file.
///
/// # Errors
/// The file cannot be read, or it is not a regular file, which could be read only once.
fn is_database(file: &Path) -> Result<bool, ShellError> {
    let is_file = std::fs::metadata(file).map_err(at(file))?.is_file();
    if is_file { database_file::is_database(file).map_err(at(file)) } else { Ok(false) }
}

/// A file that is sent. Its progress bar moves while it is read.
struct FileSource {
    path: PathBuf,
    length: u64,
    bar: ProgressBar,
}

impl BodySource for FileSource {
    fn length(&self) -> u64 {
        self.length
    }

    fn open(&self) -> io::Result<Box<dyn Read + Send>> {
        self.bar.set_position(0);
        Ok(Box::new(Counted { reader: File::open(&self.path)?, bar: self.bar.clone() }))
    }
}
