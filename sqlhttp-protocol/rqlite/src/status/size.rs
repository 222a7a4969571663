//! Formats numbers of bytes for human readers.

/// Formats a number of bytes with a decimal unit and two significant digits: `4.1 kB`.
pub(super) fn friendly(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 10 {
        return format!("{bytes} B");
    }
    let power = (bytes.ilog10() / 3) as usize;
    let value = (bytes as f64 / 1000_f64.powi(power as i32) * 10.0 + 0.5).floor() / 10.0;
    let places = usize::from(value < 10.0);
    format!("{value:.places$} {}", UNITS[power.min(UNITS.len() - 1)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (bytes, text) in [
            (0, "0 B"),
            (9, "9 B"),
            (999, "999 B"),
            (4096, "4.1 kB"),
            (69632, "70 kB"),
            (32768, "33 kB"),
            (u64::MAX, "18 EB"),
        ] {
            assert_eq!(friendly(bytes), text);
        }
    }
}
