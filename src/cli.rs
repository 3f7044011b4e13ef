//! The command line: one file per command.

mod check;
mod health;
mod inspect;
mod key;
mod models;
mod offline;
mod operations;
mod publish;
mod rollback;
mod score;
mod serve;
mod sink;

use std::process::ExitCode;

use clap::builder::Styles;
use clap::builder::styling::AnsiColor;
use clap::{CommandFactory as _, Parser, Subcommand};

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold());

const EXIT_CODES: &str = "Exit codes: 0 done; 1 the answer is no (a model may not go live, a server is not well); \
                          2 the command line, a file or a setting is wrong; 3 the server was stopped with requests \
                          unfinished; 101 a defect of Evergreen itself.";

/// Serve gradient-boosted tree models: a customer id in, a churn score out, bit-identical to the training library.
#[derive(Debug, Parser)]
#[command(version, styles = STYLES, after_help = EXIT_CODES, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Serve),
    Check(check::Check),
    Score(score::Score),
    Inspect(inspect::Inspect),
    Publish(publish::Publish),
    Rollback(rollback::Rollback),
    Models(models::Models),
    Health(health::Health),
    Key(key::Key),
}

/// Why a command ended without success.
#[derive(Debug)]
enum CommandError {
    /// The answer is no, and has been said.
    No,
    /// Something given is wrong; the text says what.
    Wrong(String),
    /// The server was stopped before it had finished everything; the text says why.
    Unfinished(String),
}

impl From<String> for CommandError {
    fn from(message: String) -> Self {
        Self::Wrong(message)
    }
}

/// The definition of the command line, for reference pages.
pub fn command() -> clap::Command {
    Arguments::command()
}

/// Parses the command line and runs the command.
pub fn run() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Serve(command) => command.run(),
        Command::Check(command) => command.run(),
        Command::Score(command) => command.run(),
        Command::Inspect(command) => command.run(),
        Command::Publish(command) => command.run(),
        Command::Rollback(command) => command.run(),
        Command::Models(command) => command.run(),
        Command::Health(command) => command.run(),
        Command::Key(command) => command.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(CommandError::No) => ExitCode::from(1),
        Err(CommandError::Wrong(message)) => {
            anstream::eprintln!("{RED}error:{RED:#} {message}");
            ExitCode::from(2)
        }
        Err(CommandError::Unfinished(message)) => {
            anstream::eprintln!("{RED}stopped, unfinished:{RED:#} {message}");
            ExitCode::from(3)
        }
    }
}

const RED: anstyle::Style = AnsiColor::Red.on_default().bold();
const GREEN: anstyle::Style = AnsiColor::Green.on_default();
const YELLOW: anstyle::Style = AnsiColor::Yellow.on_default();
const BOLD: anstyle::Style = anstyle::Style::new().bold();

/// Writes to standard output; a reader that went away (`| head`) is no error.
macro_rules! say {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(anstream::stdout(), $($text)*);
    }};
}
use say;

/// 12345678 as `12,345,678`.
fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A number of bytes for people.
fn bytes(number: usize) -> String {
    const UNITS: [&str; 4] = ["B", "KB", "MB", "GB"];
    #[expect(clippy::cast_precision_loss, reason = "for people")]
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

/// A progress bar over bytes on a terminal; nothing elsewhere.
fn progress_bar(total: u64, doing: &'static str) -> indicatif::ProgressBar {
    use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
    let template = "{msg} [{bar:30}] {bytes}/{total_bytes} {eta} left";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.with_message(doing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn numbers_are_for_people() {
        assert_eq!(
            (thousands(0), thousands(1000), thousands(12_345_678)),
            ("0".into(), "1,000".into(), "12,345,678".into())
        );
        assert_eq!(
            (bytes(999), bytes(1500), bytes(2_000_000)),
            ("999 B".into(), "1.5 KB".into(), "2.0 MB".into())
        );
    }
}
