//! The servers of sqlhttp: SQLite databases over HTTP.
//!
//! This crate contains two programs. `sqlhttp-standalone` serves one or more databases and replaces ws4sqlite.
//! `sqlhttp-cluster` is a node of a Raft cluster that replicates one database, and replaces rqlited.
//! [`standalone::serve`] and [`cluster::serve`] are the programs as functions, from the command line to the exit
//! status.
//!
//! `ARCHITECTURE.md` follows a write and a read through the code. `DESIGN.md` beside this crate gives the reasons for
//! its decisions.
//!
//! # Modules
//!
//! The two programs do not import each other. Both are built from `http`, `api` and `process`.
//!
//! | module | contents |
//! |---|---|
//! | [`http`] | the transport, from an accepted connection to the response; no protocol, no database |
//! | `http::app` | the trait that a program implements to answer requests |
//! | `http::listen`, `connection_slots`, `workers` | the accept loop, the limit of connections, the worker threads |
//! | `http::connection`, `socket`, `peer` | one connection: TLS, HTTP/1 and HTTP/2, its socket, and its state |
//! | `http::head`, `poll_on_wake` | the check of HTTP/1 heads; a future with a waker of its own |
//! | `http::handle`, `request_id`, `request_log` | one request: its id, its metrics and its log lines |
//! | `http::body`, `body_memory`, `drain`, `limits` | request bodies, limited in length, time and memory |
//! | `http::content`, `query`, `basic_auth` | parsing of headers and query strings |
//! | `http::origin` | protection against cross-site requests and DNS rebinding |
//! | `http::reply`, `compress` | responses and their compression |
//! | `http::transport` | the state that all connections share |
//! | [`api`] | what a database offers over HTTP, in both protocols |
//! | `api::ws4sqlite` | ws4sqlite's protocol, with the macros and backups of sqliterg |
//! | `api::rqlite` | rqlite's data API: statements, queued writes, backups, dumps and status |
//! | [`api::auth`], `login_delay` | the users of a database, and the delay of failed logins |
//! | `api::context`, `database`, `exchange` | the state of the handlers, and one request to one database |
//! | `api::outcome`, `streaming` | the encoding of results; large results are streamed |
//! | `api::sql_observer`, `metrics` | the counters and log lines about SQL; the endpoint `/metrics` |
//! | [`api::admin`] | the traits for copies of a database, macros and backups |
//! | [`standalone`] | the standalone server |
//! | [`standalone::serve`] | the program as a function |
//! | [`standalone::config`] | the command line, the configuration files, and the resulting configuration |
//! | [`standalone::startup`] | the steps of the start, until all databases are open |
//! | [`standalone::app`], `route`, `rqlite` | the routes of a request to the databases and their protocols |
//! | [`standalone::schedule`] | scheduled tasks, macros and backups |
//! | `standalone::files` | static files |
//! | [`standalone::monitor`] | metrics and health check on a port of their own |
//! | `standalone::messages` | log lines in the format of ws4sqlite |
//! | [`cluster`] | the node of a cluster |
//! | [`cluster::serve`] | the program as a function |
//! | [`cluster::config`] | rqlited's command line |
//! | [`cluster::auth`] | the file of users and permissions |
//! | `cluster::app`, `http` | the routes of a request, and the endpoints that only a node has |
//! | [`cluster::context`] | the state of the node that handlers read |
//! | `cluster::write_queue` | the queue of queued writes |
//! | [`cluster::log`], `observer`, `collector` | log lines in the format of rqlited; a node's events; its metrics |
//! | [`process`] | what both programs need of the process and the operating system |
//! | [`process::logging`], `metrics` | log lines on standard error, and metrics in Prometheus's format |
//! | [`process::tls`], `reloading` | certificates, which are reloaded when their files change |
//! | [`process::memory`], [`process::shutdown`] | limits of memory and open files; signals that stop the process |
//! | `process::database_watch`, `scratch`, `flags` | checks of served databases; temporary files; common flags |

pub mod api;
pub mod cluster;
pub mod http;
pub mod process;
pub mod standalone;
