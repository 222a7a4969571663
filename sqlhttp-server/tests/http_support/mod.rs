//! A server in this process with a simulated database behind it, and a client for it.
#![allow(dead_code, unused_imports, unreachable_pub)]

pub mod client;
pub mod simulated;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};
use sqlhttp_core::{JournalMode, Location};
use sqlhttp_server::api::admin::Macros;
use sqlhttp_server::api::auth::{AuthConfig, AuthMode, TokenConfig, Users};
use sqlhttp_server::process::logging::LogFormat;
use sqlhttp_server::process::tls::Tls;
use sqlhttp_server::standalone::config::{
    DatabaseConfig, DirectoryBackupConfig, ExecutionConfig, MacroConfig, ServerConfig,
};
use sqlhttp_server::standalone::{ServedDatabase, StandaloneApp};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub use crate::common::{eventually, series};
pub use client::{Client, Response};
pub use simulated::Simulated;

/// The time limits of the server, unless a test sets its own.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A server that listens.
pub struct Server {
    pub address: SocketAddr,
    /// The address of `/metrics` and `/healthz`.
    pub monitor: SocketAddr,
    pub database: Arc<Simulated>,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<std::io::Result<()>>,
    runtime: Runtime,
}

/// The configuration of a server.
pub struct Setup {
    pub server: ServerConfig,
    pub database: DatabaseConfig,
    pub macros: Option<Arc<dyn Macros>>,
    pub tls: Option<Tls>,
}

impl Setup {
    /// A server of one database, `t`, with generous limits.
    pub fn new() -> Self {
        Setup { server: server_config(), database: database_config("t"), macros: None, tls: None }
    }

    pub fn start(self) -> Server {
        let database = Arc::new(Simulated::default());
        let mut served = ServedDatabase::new(self.database, database.clone());
        served.macros = self.macros;
        served.status = Some(database.status_fn());
        let app = StandaloneApp::new(&self.server, vec![served]).unwrap();
        let runtime = Runtime::new().unwrap();
        let (listener, address) = runtime.block_on(listen());
        let (monitor_listener, monitor) = runtime.block_on(listen());
        runtime.spawn(sqlhttp_server::standalone::monitor::run_monitor(
            monitor_listener,
            Arc::clone(&app),
            std::future::pending(),
        ));
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async move {
            let _ = stopped.await;
        };
        let running = runtime.spawn(sqlhttp_server::standalone::serve::run(listener, app, self.tls, shutdown));
        Server { address, monitor, database, stop: Some(stop), running, runtime }
    }
}

impl Server {
    /// A server with all defaults.
    pub fn start() -> Self {
        Setup::new().start()
    }

    pub fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    /// A connection to `/metrics` and `/healthz`.
    pub fn connect_to_monitor(&self) -> Client {
        Client::connect(self.monitor)
    }

    /// The value of a series of `/metrics`, named with its labels.
    pub fn metric(&self, name: &str) -> f64 {
        series(self.connect_to_monitor().request("GET /metrics HTTP/1.1", b"").text(), name)
    }

    /// Sends bytes on a connection and waits until the server has received them. No other client may send meanwhile.
    pub fn deliver(&self, client: &mut Client, bytes: impl AsRef<[u8]>) {
        let received = || self.metric("sqlhttp_received_bytes_total");
        let expected = received() + bytes.as_ref().len() as f64;
        client.send(bytes);
        eventually("the bytes are received", || received() >= expected);
    }

    /// Sends the stop signal.
    pub fn stop(&mut self) {
        let _ = self.stop.take().unwrap().send(());
    }

    /// Waits until `run` has returned.
    pub fn ended(self) {
        let Server { runtime, running, .. } = self;
        runtime.block_on(async { tokio::time::timeout(PATIENCE, running).await.expect("it ends").unwrap().unwrap() });
    }
}

/// A listener on a free port, and its address.
async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn server_config() -> ServerConfig {
    ServerConfig {
        bind_host: "127.0.0.1".into(),
        port: 0,
        allowed_hosts: Vec::new(),
        serve_dir: None,
        index_file: "index.html".into(),
        body_bytes_max: 1 << 20,
        all_bodies_bytes_max: 512 << 20,
        header_bytes_max: 16 << 10,
        connections_max: 100,
        items_max: 100,
        query_timeout: None,
        write_timeout: None,
        check_interval: Duration::ZERO,
        shutdown_timeout: PATIENCE,
        header_timeout: PATIENCE,
        first_request_timeout: PATIENCE,
        body_timeout: PATIENCE,
        metrics_addr: None,
        tls: None,
        log_format: LogFormat::Text,
        log_level: "warn".into(),
        log_requests: false,
        log_slow: None,
    }
}

fn database_config(id: &str) -> DatabaseConfig {
    DatabaseConfig {
        id: id.into(),
        location: Location::Memory,
        read_only: false,
        journal_mode: JournalMode::Wal,
        allow_attach: false,
        auth: None,
        cors_origin: None,
        stored_statements: HashMap::new(),
        only_stored_statements: false,
        init_statements: Vec::new(),
        tasks: Vec::new(),
        macros: Vec::new(),
        backup: None,
    }
}

pub fn sha256(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

/// `user` with the password `secret`.
pub fn auth(mode: AuthMode) -> Option<AuthConfig> {
    let users = Users::ByCredentials(HashMap::from([("user".to_owned(), sha256("secret"))]));
    Some(AuthConfig { mode, users, error_code: 401 })
}

pub fn macro_config(id: &str, token: Option<&str>) -> MacroConfig {
    MacroConfig { id: id.into(), statements: Vec::new(), disable_transaction: false, execution: execution(token) }
}

pub fn backup_config(token: Option<&str>) -> DirectoryBackupConfig {
    DirectoryBackupConfig { dir: "bk".into(), files_max: 3, execution: execution(token) }
}

fn execution(token: Option<&str>) -> ExecutionConfig {
    let web_service = Some(TokenConfig { token_sha256: token.map(sha256), error_code: 401 });
    ExecutionConfig { web_service, ..ExecutionConfig::default() }
}
