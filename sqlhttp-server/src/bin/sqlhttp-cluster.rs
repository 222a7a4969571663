//! A node of a cluster: rqlited's command line, ports 4001 and 4002.

use std::ffi::OsString;
use std::process::ExitCode;

use sqlhttp_server::cluster::serve;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    sqlhttp_server::process::memory::disable_huge_pages();
    sqlhttp_server::process::memory::raise_open_file_limit();
    sqlhttp_server::process::memory::install_sqlite_allocator();
    // Connections and replication have threads of their own; this one accepts, watches the clock and starts what may block.
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_stack_size(sqlhttp_core::STACK_BYTES)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("cannot start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let status = runtime.block_on(serve::main(&arguments));
    // What still runs on other threads has nothing to lose: the node is closed.
    runtime.shutdown_background();
    ExitCode::from(status)
}
