//! The program `sqlhttp-cluster`: a node of a cluster, with the command line of rqlited. The default ports are 4001
//! (HTTP) and 4002 (Raft).

use std::ffi::OsString;
use std::process::ExitCode;

use sqlhttp_server::cluster::serve;
use sqlhttp_server::process::main::run_main;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    run_main(serve::main(&arguments))
}
