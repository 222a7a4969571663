//! The servers of sqlhttp: SQLite databases over HTTP.
//!
//! This crate contains two programs. `sqlhttp-standalone` serves one or more databases and replaces ws4sqlite.
//! `sqlhttp-cluster` is a node of a Raft cluster that replicates one database, and replaces rqlited. The functions
//! [`standalone::serve`] and [`cluster::serve`] contain the programs, from reading the command line to returning the
//! exit status.
//!
//! A program can also serve databases that it has opened itself: it supplies the settings, the socket and the stop
//! signal.
//!
//! ```
//! use std::sync::Arc;
//!
//! use sqlhttp_core::Executor as _;
//! use sqlhttp_rqlite::client::{Client, HyperTransport};
//! use sqlhttp_server::standalone::startup::{self, Console, Invocation, StartOutcome};
//! use sqlhttp_server::standalone::{ServedDatabase, StandaloneApp, serve};
//! use tokio::{net::TcpListener, sync::oneshot};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // The settings are those of a command line. The start opens the databases.
//! let invocation = Invocation { arguments: vec!["--mem-db".into(), "shop".into()], ..Invocation::default() };
//! let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
//! let started = startup::start(&invocation, &mut Console { out: &mut out, err: &mut err }).await;
//! let StartOutcome::Serve(service) = started else { return Err("the settings are invalid".into()) };
//!
//! let served = service.databases.iter().map(|opened| {
//!     ServedDatabase::new((*opened.config).clone(), Arc::new(opened.database.clone()))
//! });
//! let app = StandaloneApp::new(&service.server, served.collect())?;
//! let listener = TcpListener::bind("127.0.0.1:0").await?;
//! let address = listener.local_addr()?.to_string();
//! let (stop, stopped) = oneshot::channel::<()>();
//! let running = tokio::spawn(serve::run(listener, app, None, async move { drop(stopped.await) }));
//!
//! let client = Client::new(HyperTransport::with_system_roots()?, address.parse()?, []).with_prefix("shop");
//! client.execute("CREATE TABLE items(id INTEGER PRIMARY KEY, name TEXT)", ()).await?;
//! client.execute("INSERT INTO items(name) VALUES (?)", ["apple"]).await?;
//! let items: Vec<(i64, String)> = client.query_all("SELECT id, name FROM items", ()).await?;
//! assert_eq!(items, [(1, "apple".to_owned())]);
//!
//! stop.send(()).map_err(|()| "the server has ended")?;
//! running.await??;
//! for opened in &service.databases {
//!     opened.database.close().await?;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Unlike the programs, this server runs no scheduled tasks, and its databases have no macros, backups and copies over
//! HTTP.
//!
//! # When to use it
//!
//! Use the programs if clients of ws4sqlite or rqlite exist, or if programs in any language share a SQLite database.
//! Use something else in other cases:
//!
//! * [sqlhttp-core](sqlhttp_core) or [sqlhttp-raft](sqlhttp_raft): the database has one user, a program in Rust. A call
//!   needs no HTTP and no JSON.
//! * [axum](https://docs.rs/axum) with sqlhttp-core, as in `sqlhttp-core/examples/axum.rs`: clients must not send SQL.
//!   (`sqlhttp-standalone` can also restrict clients to stored statements.)
//! * [rqlite](https://rqlite.io) or [ws4sqlite](https://github.com/proofrock/ws4sqlite): a feature is needed that the
//!   programs do not have. `docs/differences-rqlite.md` and `docs/differences.md` list the differences.
//! * A database server such as PostgreSQL: a transaction must stay open between two requests, or many transactions must
//!   write at the same time. Here, no transaction outlives its request, and one thread runs all writes of a database.
//!
//! # Threads
//!
//! | work | thread |
//! |---|---|
//! | TLS, HTTP, decoding, encoding, compression, short reads | the worker thread of the connection; one per processor |
//! | longer reads; writes | the reader threads and the writer thread of the database ([`sqlhttp_core`]) |
//! | decoding and encoding of more than 1 MiB; slow password hashes | Tokio's threads for blocking work |
//! | backups, checks of databases | threads with low priority |
//! | on a node: Raft, the Raft log, requests of other nodes | the threads of the node ([`sqlhttp_raft`]) |
//!
//! `ARCHITECTURE.md` follows a write and a read through the code. `DESIGN.md` in the directory of this crate gives the
//! reasons for its decisions.
//!
//! # Modules
//!
//! The modules of the two programs, `standalone` and `cluster`, do not import each other. Both import `http`, `api` and
//! `process`.
//!
//! | module | contents |
//! |---|---|
//! | [`http`] | the HTTP transport, from an accepted connection to the response, for any protocol |
//! | `http::app` | the trait that a program implements to handle requests |
//! | `http::listen`, `connection_slots`, `workers` | the accept loop, the limit on connections, the worker threads |
//! | `http::connection`, `socket`, `peer` | one connection: TLS, HTTP/1 and HTTP/2, its socket, and its state |
//! | `http::head`, `poll_on_wake` | the check of HTTP/1 request heads; a future with its own waker |
//! | `http::handle`, `request_id`, `request_log` | one request: its id, its metrics and its log lines |
//! | `http::body`, `body_memory`, `drain`, `limits` | request bodies, with limits on length, time and memory |
//! | `http::content`, `query`, `basic_auth` | parsing of headers and query strings |
//! | `http::origin` | protection against cross-site requests and DNS rebinding |
//! | `http::reply`, `compress` | responses and their compression |
//! | `http::transport` | the state that all connections share |
//! | [`api`] | the HTTP API of a database, in both protocols |
//! | `api::ws4sqlite` | ws4sqlite's protocol, with macros and backups as in sqliterg |
//! | `api::rqlite` | rqlite's data API: statements, queued writes, backups, dumps and status |
//! | [`api::auth`], `login_delay` | the users of a database, and the delay of the responses to failed logins |
//! | `api::context`, `database`, `exchange` | the state of request handlers, a served database, one request to it |
//! | `api::outcome`, `streaming` | the encoding of results, of which large ones are streamed |
//! | `api::sql_observer`, `metrics` | counters and log lines about SQL; the endpoint `/metrics` |
//! | [`api::admin`] | the traits for copying and replacing a database, and for macros and backups |
//! | [`standalone`] | the standalone server |
//! | [`standalone::serve`] | the program as a function |
//! | [`standalone::config`] | the command line, the configuration files, and the resulting configuration |
//! | [`standalone::startup`] | the start of the server, until all databases are open |
//! | [`standalone::app`], `route`, `rqlite` | the choice of database and protocol for a request, from its path |
//! | [`standalone::schedule`] | scheduled tasks, macros and backups |
//! | `standalone::files` | static files |
//! | [`standalone::monitor`] | metrics and health check on a separate port |
//! | `standalone::messages` | log lines in the format of ws4sqlite |
//! | [`cluster`] | the node of a cluster |
//! | [`cluster::serve`] | the program as a function |
//! | [`cluster::config`] | rqlited's command line |
//! | [`cluster::auth`] | the file with users and permissions |
//! | `cluster::app`, `http` | the choice of endpoint for a request, and the endpoints that only a node has |
//! | [`cluster::context`] | the state of the node that handlers read |
//! | `cluster::write_queue` | the queue for queued writes (rqlite's `?queue`) |
//! | [`cluster::log`], `observer`, `collector` | log lines in the format of rqlited; a node's events and metrics |
//! | [`process`] | what concerns the process and the operating system, in both programs |
//! | [`process::logging`], `metrics` | log lines on standard error, and metrics in Prometheus's format |
//! | [`process::tls`], `reloading` | TLS certificates, which are reloaded when their files change |
//! | [`process::memory`], [`process::shutdown`] | limits on memory and open files; signals that stop the process |
//! | `process::database_watch`, `scratch`, `flags` | checks of served databases; temporary files; common flags |
//! | `process::generate` | the man page and the completion scripts of both programs |

pub mod api;
pub mod cluster;
pub mod http;
pub mod process;
pub mod standalone;
