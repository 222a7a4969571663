//! The common part of the `main` functions of both programs: it sets the limits of the process and starts the runtime.

use std::future::Future;
use std::process::ExitCode;

use tokio::runtime::{Builder, Runtime};

use super::memory;

/// Prepares the process, runs `program` to its end, and returns the exit status of the process. It must be called at
/// the beginning of `main`, because SQLite's allocator must be installed before another thread starts.
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
    // The program has closed its databases, so tasks that are still running now cannot lose data.
    runtime.shutdown_background();
    ExitCode::from(status)
}

/// Builds a tokio runtime with one worker thread, which accepts connections and runs timers, and a pool of threads for
/// blocking work. Connections and replication use other threads.
fn runtime() -> std::io::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(1).thread_stack_size(sqlhttp_core::STACK_BYTES).enable_all().build()
}
