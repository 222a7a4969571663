//! Progress bars, on standard error. They are not shown if standard error is no terminal.

use std::borrow::Cow;
use std::io::Read;

use indicatif::{ProgressBar, ProgressStyle};

/// Creates a bar that counts bytes. `total` is the number of all bytes, if it is known.
pub(crate) fn bytes(what: impl Into<Cow<'static, str>>, total: Option<u64>) -> ProgressBar {
    match total {
        Some(total) => bar(
            ProgressBar::new(total),
            "{msg} {wide_bar} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta}",
            what,
        ),
        None => bar(ProgressBar::new_spinner(), "{spinner} {msg} {binary_bytes} {binary_bytes_per_sec}", what),
    }
}

/// Creates a bar that counts rows.
pub(crate) fn rows(what: impl Into<Cow<'static, str>>) -> ProgressBar {
    bar(ProgressBar::new_spinner(), "{spinner} {msg} {human_pos} rows {per_sec}", what)
}

/// Creates a bar for the bytes of a file that are read, with the number of rows in the message.
pub(crate) fn file_of_rows(what: impl Into<Cow<'static, str>>, total: u64) -> ProgressBar {
    bar(ProgressBar::new(total), "{prefix} {wide_bar} {percent}% {msg} {eta}", "").with_prefix(what)
}

fn bar(bar: ProgressBar, template: &str, what: impl Into<Cow<'static, str>>) -> ProgressBar {
    // The templates of this module are valid.
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.with_style(style).with_message(what)
}

/// A reader that moves a progress bar.
pub(crate) struct Counted<R> {
    pub(crate) reader: R,
    pub(crate) bar: ProgressBar,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.reader.read(buffer)?;
        self.bar.inc(length as u64);
        Ok(length)
    }
}
