//! The binary `evergreen`.

fn main() -> std::process::ExitCode {
    evergreen::cli::run()
}
