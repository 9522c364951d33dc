//! The log: one line per message, on stderr, and nothing in it that a terminal would obey.

use std::{fmt::Debug, io};

use tracing::{Subscriber, field::Field};
use tracing_subscriber::{
    EnvFilter,
    field::MakeExt,
    fmt::{
        MakeWriter,
        format::{self, Writer},
    },
};

use super::output::printable;

/// Logs to stderr from now on: what `RUST_LOG` says, or `level` where it does not.
pub fn log_to_stderr(level: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let colours = anstream::AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never;
    // Fails where somebody logs already, and then that log is as good.
    let _ = tracing::subscriber::set_global_default(subscriber(filter, colours, io::stderr));
}

/// What formats the log. Colours are its own: whatever stands in messages and fields is made harmless before.
pub(super) fn subscriber<W>(filter: EnvFilter, colours: bool, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    tracing_subscriber::fmt()
        .fmt_fields(format::debug_fn(field).delimited(" "))
        .with_env_filter(filter)
        .with_ansi(colours)
        .with_writer(writer)
        .finish()
}

/// `name=value`; of the message only its text.
fn field(writer: &mut Writer<'_>, field: &Field, value: &dyn Debug) -> std::fmt::Result {
    if field.name() != "message" {
        write!(writer, "{field}=")?;
    }
    writer.write_str(&printable(&format!("{value:?}")))
}
