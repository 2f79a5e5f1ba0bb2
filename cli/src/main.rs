//! The `cbrowse` binary; everything it does is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    cbrowse::run(std::env::args_os())
}
