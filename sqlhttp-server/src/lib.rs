//! The servers of sqlhttp: SQLite databases over HTTP.
//!
//! This crate contains two programs. `sqlhttp-standalone` serves one or more databases and replaces ws4sqlite.
//! `sqlhttp-cluster` is a node of a Raft cluster that replicates one database, and replaces rqlited. The functions
//! [`standalone::serve`] and [`cluster::serve`] contain the programs, from reading the command line to returning the
//! exit status.
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
