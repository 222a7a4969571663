//! Asks a node for its state, and changes the cluster.

use std::io::Write as _;
use std::path::Path;

use sqlhttp_rqlite::Params;
use sqlhttp_rqlite::client::{Host, HttpRequest, Method, Transport};

use super::{Shell, ShellError};
use crate::partial_file::PartialFile;
use crate::tree;

/// The documents of a node that `.sysdump` writes.
const SYSDUMP_RESOURCES: [&str; 4] = ["status?pretty", "nodes?pretty", "readyz", "debug/vars"];

impl<T: Transport + Clone> Shell<T> {
    /// Requests a JSON object.
    async fn document(&self, resource: &str, params: &Params) -> Result<tree::Object, ShellError> {
        let body = self.ask(Method::Get, resource, params, None).await?;
        let parsed = serde_json::from_slice(&body);
        parsed.map_err(|error| ShellError::Invalid(format!("the response of the server is malformed: {error}")))
    }

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

    pub(super) async fn leader(&mut self) -> Result<(), ShellError> {
        let mut nodes = self.document("nodes", &Params::default()).await?;
        nodes.retain(|_, node| node["leader"] == true);
        if nodes.is_empty() {
            return Err(ShellError::Invalid("no leader found".to_owned()));
        }
        Ok(tree::write(&mut self.out, &nodes)?)
    }

    pub(super) async fn ready(&mut self) -> Result<(), ShellError> {
        let ready = self.send(Method::Get, "readyz", &Params::default(), None).await?.status == 200;
        Ok(writeln!(self.out, "{}", if ready { "ready" } else { "not ready" })?)
    }

    pub(super) async fn extensions(&mut self) -> Result<(), ShellError> {
        let status = self.document("status", &Params::default()).await?;
        let names = status.get("extensions").and_then(|extensions| extensions["names"].as_array());
        for name in names.into_iter().flatten().filter_map(|name| name.as_str()) {
            writeln!(self.out, "{name}")?;
        }
        Ok(())
    }

    pub(super) async fn reap(&mut self) -> Result<(), ShellError> {
        let body = self.ask(Method::Post, "reap", &Params::default(), None).await?;
        let reaped: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
        let count = |name: &str| reaped[name].as_u64().unwrap_or(0);
        let (snapshots, wals) = (count("snapshots_reaped"), count("wals_checkpointed"));
        Ok(writeln!(self.out, "snapshots reaped: {snapshots}, WALs checkpointed: {wals}")?)
    }

    /// Writes the documents of all nodes to a file. The document of a node that cannot be reached is the error.
    pub(super) async fn sysdump(&mut self, file: &Path) -> Result<(), ShellError> {
        let nodes = self.document("nodes", &Params { nonvoters: true, ..Params::default() }).await?;
        let addresses = nodes.values().filter_map(|node| node["api_addr"].as_str());
        let hosts: Vec<Host> = addresses.filter_map(|address| address.parse().ok()).collect();
        let mut partial = PartialFile::create(file)?;
        for host in hosts {
            for resource in SYSDUMP_RESOURCES {
                let text = self.dumped(&host, resource).await;
                partial.write(text.as_bytes())?;
            }
        }
        partial.commit()
    }

    /// Returns a document with its URL and its status.
    async fn dumped(&self, host: &Host, resource: &str) -> String {
        const RULE: &str = "=========================================";
        let target = self.client.target(resource, &Params::default());
        let request = HttpRequest::new(Method::Get, target.clone());
        let (status, body) = match self.client.for_host(host.clone()).send_whole(request).await {
            Ok(response) => (response.status.to_string(), String::from_utf8_lossy(&response.body).into_owned()),
            Err(error) => ("none".to_owned(), error.to_string()),
        };
        format!("\n{RULE}\nURL: {host}{target}\nStatus: {status}\n\n{body}\n")
    }
}
