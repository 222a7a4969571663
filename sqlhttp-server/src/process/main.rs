//! The frame of both programs' `main` functions: the limits of the process and the runtime.

use std::future::Future;
use std::process::ExitCode;

use tokio::runtime::{Builder, Runtime};

use super::memory;

/// Prepares the process, runs a program to its end, and returns the exit status of the process. Call it at the
/// beginning of `main`: SQLite's allocator must be installed before another thread starts.
pub fn run_main(program: impl Future<Output = u8>) -> ExitCode {
    memory::disable_huge_pages();
    memory::raise_open_file_limit();
    memory::install_sqlite_allocator();
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("cannot start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let status = runtime.block_on(program);
    // The program has closed its databases, so tasks that are still running cannot lose data.
    runtime.shutdown_background();
    ExitCode::from(status)
}

/// Builds a runtime with one worker thread, which accepts connections and runs timers, and a pool for blocking work.
/// Connections and replication have threads of their own.
fn runtime() -> std::io::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(1).thread_stack_size(sqlhttp_core::STACK_BYTES).enable_all().build()
}
