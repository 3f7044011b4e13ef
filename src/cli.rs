//! The command line, with one module per command.

mod check;
mod doctor;
mod drift;
mod health;
mod init;
mod inspect;
mod key;
mod models;
mod offline;
mod operations;
mod outcomes;
mod publish;
mod rejects;
mod replay;
mod rollback;
mod score;
mod serve;
mod signals;
mod sink;
mod table;
mod welcome;

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;

use crate::config::{Config, Overrides};
use clap::builder::Styles;
use clap::builder::styling::AnsiColor;
use clap::{CommandFactory as _, Parser, Subcommand};
use table::TextTable;

use crate::words::thousands;

use crate::server::FAILED_CODE;

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold());

const EXIT_CODES: &str = "Exit codes: 0 success; 1 check failed (the model may not go live, the server is not healthy, a replayed score differs); \
                          2 invalid command line, file or setting; 3 the server stopped with requests unfinished; \
                          4 the server stopped itself because a thread failed; 101 internal error. `score` has its own: see evergreen score --help.";

/// Prints a line to standard output. Ignores a closed pipe (`| head`).
macro_rules! print_line {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(anstream::stdout(), $($text)*);
    }};
}
use print_line;

/// Prints a line to standard error. A closed pipe or a full disk must not change the exit code.
macro_rules! print_error {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(anstream::stderr(), $($text)*);
    }};
}
use print_error;

/// Serve gradient-boosted tree models: from a customer id to a churn score, bit-identical to the training library.
#[derive(Debug, Parser)]
#[command(version, styles = STYLES, after_help = EXIT_CODES, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: CliCommand,
}

#[derive(Debug, Subcommand)]
enum CliCommand {
    Init(init::InitCommand),
    Serve(serve::ServeCommand),
    Check(check::CheckCommand),
    Score(score::ScoreCommand),
    Replay(replay::ReplayCommand),
    Inspect(inspect::InspectCommand),
    Drift(drift::DriftCommand),
    Publish(publish::PublishCommand),
    Rollback(rollback::RollbackCommand),
    Models(models::ModelsCommand),
    Outcomes(outcomes::OutcomesCommand),
    Health(health::HealthCommand),
    Doctor(doctor::DoctorCommand),
    Key(key::KeyCommand),
}

/// Why a command ended without success.
#[derive(Debug)]
enum CommandError {
    /// The check failed; the report is already printed.
    CheckFailed,
    /// The command line, a file or a setting is invalid; the text says why.
    Invalid(String),
    /// The server stopped with requests unfinished; the text says why.
    Unfinished(String),
    /// The server stopped itself; the text says why.
    Failed(String),
    /// The log has the error; the number is the exit code.
    Logged(u8),
}

impl CommandError {
    /// What to write to standard error; `None` if that is done.
    fn text(&self) -> Option<String> {
        match self {
            Self::CheckFailed | Self::Logged(_) => None,
            Self::Invalid(message) => Some(format!("{RED}error:{RED:#} {message}")),
            Self::Failed(message) => Some(format!("{RED}server failed:{RED:#} {message}")),
            Self::Unfinished(message) => {
                Some(format!("{RED}stopped with requests unfinished:{RED:#} {message}"))
            }
        }
    }

    fn exit_code(&self) -> u8 {
        match self {
            Self::CheckFailed => 1,
            Self::Invalid(_) => 2,
            Self::Unfinished(_) => 3,
            Self::Failed(_) => FAILED_CODE,
            Self::Logged(code) => *code,
        }
    }
}

impl From<String> for CommandError {
    fn from(message: String) -> Self {
        Self::Invalid(message)
    }
}

/// Returns the definition of the command line, for the reference page.
pub fn command() -> clap::Command {
    Arguments::command()
}

/// Parses the command line and runs the command.
pub fn run() -> ExitCode {
    let command = Arguments::parse().command;
    if !matches!(command, CliCommand::Serve(_)) {
        signals::clean_up_when_ended();
    }
    let result = match command {
        CliCommand::Init(command) => command.run(),
        CliCommand::Serve(command) => command.run(),
        CliCommand::Check(command) => command.run(),
        CliCommand::Score(command) => command.run(),
        CliCommand::Replay(command) => command.run(),
        CliCommand::Inspect(command) => command.run(),
        CliCommand::Drift(command) => command.run(),
        CliCommand::Publish(command) => command.run(),
        CliCommand::Rollback(command) => command.run(),
        CliCommand::Models(command) => command.run(),
        CliCommand::Outcomes(command) => command.run(),
        CliCommand::Health(command) => command.run(),
        CliCommand::Doctor(command) => command.run(),
        CliCommand::Key(command) => command.run(),
    };
    let Err(error) = result else {
        return ExitCode::SUCCESS;
    };
    if let Some(text) = error.text() {
        print_error!("{text}");
    }
    ExitCode::from(error.exit_code())
}

const RED: anstyle::Style = AnsiColor::Red.on_default().bold();
const GREEN: anstyle::Style = AnsiColor::Green.on_default();
const YELLOW: anstyle::Style = AnsiColor::Yellow.on_default();
const BOLD: anstyle::Style = anstyle::Style::new().bold();

/// Reads the settings of a command without settings on its command line.
fn load_config(file: Option<&Path>) -> Result<Config, String> {
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    Config::load(file, environment, &Overrides::default())
}

/// Parses an address to listen on, for clap.
fn listen_address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| "expected an address such as 127.0.0.1:8080 or [::1]:8080".to_owned())
}

/// Parses a whole number, for clap.
fn whole_number(text: &str) -> Result<u64, String> {
    text.parse()
        .map_err(|_| "expected a whole number from 0, such as 3".to_owned())
}

/// Prints the lines of a table, each after `indent`.
fn print_table(table: &TextTable, indent: &str) {
    for line in table.lines() {
        print_line!("{indent}{line}");
    }
}

/// Formats a number of bytes with a decimal unit, such as `1.5 KB`.
fn human_bytes(number: usize) -> String {
    const UNITS: [&str; 4] = ["B", "KB", "MB", "GB"];
    #[expect(clippy::cast_precision_loss, reason = "rounded for display")]
    let mut size = number as f64;
    let mut unit = 0;
    while size >= 1000.0 && unit + 1 < UNITS.len() {
        size /= 1000.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{number} B")
    } else {
        format!("{size:.1} {}", UNITS[unit])
    }
}

/// Returns a progress bar over bytes, which is visible on a terminal only.
fn progress_bar(total: u64, message: &'static str) -> indicatif::ProgressBar {
    use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
    let template = "{msg} [{bar:30}] {bytes}/{total_bytes} {eta} left";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.with_message(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_line_definition_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn formats_numbers_and_sizes() {
        assert_eq!(
            (thousands(0), thousands(1000), thousands(12_345_678)),
            ("0".into(), "1,000".into(), "12,345,678".into())
        );
        assert_eq!(
            (human_bytes(999), human_bytes(1500), human_bytes(2_000_000)),
            ("999 B".into(), "1.5 KB".into(), "2.0 MB".into())
        );
    }
}
