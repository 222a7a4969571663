//! Asks a node for its state, and changes the cluster.

use std::io::{self, Write as _};
use std::path::Path;

use sqlhttp_rqlite::client::{Host, HttpRequest, Method, Scheme, Transport};
use sqlhttp_rqlite::{Difference, Params, RowName, Verification, decode_verification};

use super::{Shell, ShellError, succeeded};
use crate::partial_file::PartialFile;
use crate::tree;

/// The documents of a node that `.sysdump` writes.
const SYSDUMP_RESOURCES: [&str; 4] = ["status?pretty", "nodes?pretty", "readyz", "debug/vars"];

/// The line before each document.
const RULE: &str = "=========================================";

impl<T: Transport + Clone> Shell<T> {
    /// Requests a JSON object.
    async fn document(&self, resource: &str, params: &Params) -> Result<tree::Object, ShellError> {
        let body = self.ask(Method::Get, resource, params, None).await?;
        let parsed = serde_json::from_slice(&body);
        parsed.map_err(|error| ShellError::Invalid(format!("the response of the server is malformed: {error}")))
    }

    /// Writes a document of the node, or one of its fields.
    pub(super) async fn show_document(
        &mut self,
        resource: &str,
        params: &Params,
        key: Option<&str>,
    ) -> Result<(), ShellError> {
        let mut document = self.document(resource, params).await?;
        if let Some(key) = key {
            document.retain(|name, _| name == key);
        }
        if self.settings.pager {
            self.out.begin_paged();
        }
        Ok(tree::write(&mut self.out, &document)?)
    }

    /// Writes the entry of the leader in the list of nodes.
    pub(super) async fn leader(&mut self) -> Result<(), ShellError> {
        let mut nodes = self.document("nodes", &Params::default()).await?;
        nodes.retain(|_, node| node["leader"] == true);
        if nodes.is_empty() {
            return Err(ShellError::Invalid("no leader found".to_owned()));
        }
        Ok(tree::write(&mut self.out, &nodes)?)
    }

    /// Writes whether the node is ready.
    pub(super) async fn ready(&mut self) -> Result<(), ShellError> {
        let ready = self.send(Method::Get, "readyz", &Params::default(), None).await?.status == 200;
        // A script can wait for the exit status 0.
        self.failed |= !ready;
        Ok(writeln!(self.out, "{}", if ready { "ready" } else { "not ready" })?)
    }

    /// Writes the names of the loaded extensions.
    pub(super) async fn extensions(&mut self) -> Result<(), ShellError> {
        let status = self.document("status", &Params::default()).await?;
        let names = status.get("extensions").and_then(|extensions| extensions["names"].as_array());
        for name in names.into_iter().flatten().filter_map(|name| name.as_str()) {
            writeln!(self.out, "{name}")?;
        }
        Ok(())
    }

    /// Asks the node to remove old snapshots.
    pub(super) async fn reap(&mut self) -> Result<(), ShellError> {
        let body = self.ask(Method::Post, "reap", &Params::default(), None).await?;
        let reaped: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
        let count = |name: &str| reaped[name].as_u64().unwrap_or(0);
        let (snapshots, wals) = (count("snapshots_reaped"), count("wals_checkpointed"));
        Ok(writeln!(self.out, "snapshots reaped: {snapshots}, WALs checkpointed: {wals}")?)
    }

    /// Compares the content of the nodes, and writes the differences. The statement counts as failed if there are any.
    pub(super) async fn verify(&mut self, deep: bool, repair: bool) -> Result<(), ShellError> {
        let method = if repair { Method::Post } else { Method::Get };
        let params = Params::default().deep(deep).repair(repair);
        // The time that the nodes need depends on the size of their databases.
        let request = HttpRequest::new(method, self.client.target("verify", &params)).without_time_limit();
        let response = self.client.send_whole(request).await?;
        match response.status {
            401 => return Err(ShellError::Unauthorized),
            404 => return Err(ShellError::Invalid("this server does not compare the content of nodes".to_owned())),
            _ => {}
        }
        let Ok(verification) = decode_verification(&response.body) else {
            return succeeded(response.status, &response.body);
        };
        self.failed |= !verification.equal;
        Ok(write_verification(&mut self.out, &verification)?)
    }

    /// Writes the documents of all nodes to a file. For a node that cannot be reached, the file contains the error.
    /// Credentials are not sent without encryption to other nodes if the connection to this one is encrypted.
    pub(super) async fn sysdump(&mut self, file: &Path) -> Result<(), ShellError> {
        let nodes = self.document("nodes", &Params::default().nonvoters(true)).await?;
        let mut partial = PartialFile::create(file)?;
        for (id, node) in &nodes {
            match node["api_addr"].as_str().unwrap_or_default().parse::<Host>() {
                Ok(host) => {
                    for resource in SYSDUMP_RESOURCES {
                        partial.write(self.dumped(&host, resource).await.as_bytes())?;
                    }
                }
                Err(error) => partial.write(format!("\n{RULE}\nNode: {id}\n\n{error}\n").as_bytes())?,
            }
        }
        partial.commit()
    }

    /// Returns a document with its URL and its status.
    async fn dumped(&self, host: &Host, resource: &str) -> String {
        let target = self.client.target(resource, &Params::default());
        let request = HttpRequest::new(Method::Get, target.clone());
        let encrypted = self.client.host().scheme() == Scheme::Https;
        let sent = match host.scheme() {
            Scheme::Http if encrypted => {
                Err("the node offers no encryption, and this connection is encrypted".to_owned())
            }
            _ => self.client.for_host(host.clone()).send_whole(request).await.map_err(|error| error.to_string()),
        };
        let (status, body) = match sent {
            Ok(response) => (response.status.to_string(), String::from_utf8_lossy(&response.body).into_owned()),
            Err(error) => ("none".to_owned(), error),
        };
        format!("\n{RULE}\nURL: {host}{target}\nStatus: {status}\n\n{body}\n")
    }
}

fn write_verification(out: &mut impl io::Write, verification: &Verification) -> io::Result<()> {
    let Verification { index, equal, nodes, differences, repaired } = verification;
    for (name, node) in nodes {
        match &node.error {
            Some(error) => writeln!(out, "{name}: {} {error}", node.digest.as_deref().unwrap_or("no digest:"))?,
            None => writeln!(out, "{name}: {}", node.digest.as_deref().unwrap_or_default())?,
        }
    }
    for Difference { node, table, row } in differences {
        match row {
            Some(RowName::Rowid(rowid)) => writeln!(out, "{node} differs in the table {table}, row {rowid}")?,
            Some(RowName::Key(key)) => writeln!(out, "{node} differs in the table {table}, row ({key})")?,
            None => writeln!(out, "{node} differs in the table {table}")?,
        }
    }
    for name in repaired {
        writeln!(out, "{name} was repaired")?;
    }
    writeln!(out, "{} at index {index}", if *equal { "equal" } else { "not equal" })
}
