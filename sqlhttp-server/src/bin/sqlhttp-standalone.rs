//! The standalone server: ws4sqlite's command line, port 12321.

use std::process::ExitCode;

use sqlhttp_server::standalone::serve as standalone;
use sqlhttp_server::standalone::startup::{Console, Invocation};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    sqlhttp_server::process::memory::disable_huge_pages();
    sqlhttp_server::process::memory::raise_open_file_limit();
    sqlhttp_server::process::memory::install_sqlite_allocator();
    // Connections have threads of their own; this one accepts them, watches the clock and starts what may block.
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
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    let mut console = Console { out: &mut out, err: &mut err };
    let status = runtime.block_on(standalone::main(&Invocation::of_process(), &mut console));
    // What still runs on other threads has nothing to lose: the databases are closed.
    runtime.shutdown_background();
    ExitCode::from(status)
}
