//! The `bailiwick` server.
use std::process::ExitCode;

use mimalloc::MiMalloc;

/// Requests make and free many small things on several threads, for which it is faster than the system's, and it gives
/// memory back.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    bailiwick_server::cli::run(std::env::args_os())
}
