//! The program `sqlhttp-standalone`: the standalone server, with the command line of ws4sqlite. The default port is
//! 12321.

use std::process::ExitCode;

use sqlhttp_server::process::main::run_main;
use sqlhttp_server::standalone::serve;
use sqlhttp_server::standalone::startup::{Console, Invocation};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    let mut console = Console { out: &mut out, err: &mut err };
    run_main(serve::main(&Invocation::of_process(), &mut console))
}
