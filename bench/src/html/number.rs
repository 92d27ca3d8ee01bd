//! Figures as people read them.

/// A count or a rate with thousands apart: `62,279`; below ten with a digit after the point, below one with two.
pub fn count(value: f64) -> String {
    if !value.is_finite() {
        return "–".into();
    }
    let magnitude = value.abs();
    let digits = if magnitude >= 10.0 || magnitude.fract() == 0.0 {
        0
    } else if magnitude >= 1.0 {
        1
    } else {
        2
    };
    let text = format!("{value:.digits$}");
    let (whole, fraction) = text.split_once('.').map_or((text.as_str(), None), |(w, f)| (w, Some(f)));
    let (sign, whole) = whole.strip_prefix('-').map_or(("", whole), |rest| ("−", rest));
    let mut apart = String::new();
    for (i, digit) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i).is_multiple_of(3) {
            apart.push(',');
        }
        apart.push(digit);
    }
    match fraction {
        Some(fraction) => format!("{sign}{apart}.{fraction}"),
        None => format!("{sign}{apart}"),
    }
}

/// A count on an axis: `20k`, `1.5M`.
pub fn short(value: f64) -> String {
    if !value.is_finite() {
        return "–".into();
    }
    let (scaled, suffix) = match value.abs() {
        m if m >= 1e9 => (value / 1e9, "G"),
        m if m >= 1e6 => (value / 1e6, "M"),
        m if m >= 1e3 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    format!("{}{suffix}", trimmed(scaled))
}

/// A time given in microseconds: `85 µs`, `1.23 ms`, `2.4 s`.
pub fn micros(value_us: f64) -> String {
    match value_us.abs() {
        _ if !value_us.is_finite() => "–".into(),
        m if m >= 60e6 => format!("{} min", three(value_us / 60e6)),
        m if m >= 1e6 => format!("{} s", three(value_us / 1e6)),
        m if m >= 1e3 => format!("{} ms", three(value_us / 1e3)),
        _ => format!("{} µs", three(value_us)),
    }
}

/// A time given in seconds.
pub fn seconds(value_s: f64) -> String {
    micros(value_s * 1e6)
}

/// A share as a percentage, with as many digits as say something.
pub fn percent(share: f64) -> String {
    let percent = share * 100.0;
    match percent.abs() {
        _ if !percent.is_finite() => "–".into(),
        m if m >= 10.0 || m == 0.0 => format!("{percent:.0} %"),
        m if m >= 1.0 => format!("{percent:.1} %"),
        m if m >= 0.1 => format!("{percent:.2} %"),
        _ => format!("{percent:.3} %"),
    }
}

/// A ratio: `×1.32`, `1/424`.
pub fn times(ratio: f64) -> String {
    match ratio {
        r if !r.is_finite() => "–".into(),
        r if r >= 100.0 => format!("×{}", count(r)),
        r if r >= 10.0 => format!("×{r:.1}"),
        r if r >= 0.2 => format!("×{r:.2}"),
        r if r >= 0.1 => format!("1/{:.1}", 1.0 / r),
        r if r > 0.0 => format!("1/{}", count((1.0 / r).round())),
        _ => "×0".into(),
    }
}

/// Bytes: `12.3 MB`.
pub fn bytes(value: f64) -> String {
    match value.abs() {
        _ if !value.is_finite() => "–".into(),
        m if m >= 1e9 => format!("{} GB", three(value / 1e9)),
        m if m >= 1e6 => format!("{} MB", three(value / 1e6)),
        m if m >= 1e3 => format!("{} kB", three(value / 1e3)),
        _ => format!("{value:.0} B"),
    }
}

/// A time of the calendar, from seconds since 1970, in UTC.
pub fn date(unix_s: u64) -> String {
    let time = i64::try_from(unix_s).ok().and_then(|s| jiff::Timestamp::from_second(s).ok());
    time.map_or_else(|| "–".into(), |time| time.strftime("%Y-%m-%d %H:%M UTC").to_string())
}

/// Three significant digits, no noughts after the point.
fn three(value: f64) -> String {
    let digits = match value.abs() {
        m if m >= 100.0 => 0,
        m if m >= 10.0 => 1,
        _ => 2,
    };
    trim(format!("{value:.digits$}"))
}

fn trimmed(value: f64) -> String {
    if value >= 100.0 { format!("{value:.0}") } else { trim(format!("{value:.2}")) }
}

fn trim(text: String) -> String {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_their_thousands_apart_and_no_digits_that_say_nothing() {
        assert_eq!(count(62_279.4), "62,279");
        assert_eq!(count(1_234_567.0), "1,234,567");
        assert_eq!(count(999.0), "999");
        assert_eq!(count(2.5), "2.5");
        assert_eq!(count(0.25), "0.25");
        assert_eq!(count(0.0), "0");
        assert_eq!(count(-1500.0), "−1,500");
        assert_eq!((short(20_000.0), short(1_500_000.0), short(0.5)), ("20k".into(), "1.5M".into(), "0.5".into()));
    }

    #[test]
    fn times_have_the_unit_that_fits() {
        assert_eq!(micros(85.2), "85.2 µs");
        assert_eq!(micros(1234.0), "1.23 ms");
        assert_eq!(micros(2_400_000.0), "2.4 s");
        assert_eq!(micros(100.0), "100 µs");
        assert_eq!(seconds(90.0), "1.5 min");
    }

    #[test]
    fn a_date_is_that_of_the_calendar() {
        assert_eq!(date(0), "1970-01-01 00:00 UTC");
        assert_eq!(date(951_782_400), "2000-02-29 00:00 UTC");
        assert_eq!(date(1_795_500_300), "2026-11-24 06:05 UTC");
    }

    #[test]
    fn ratios_and_shares_read_well() {
        assert_eq!((times(1.324), times(12.34), times(345.6)), ("×1.32".into(), "×12.3".into(), "×346".into()));
        assert_eq!((times(0.107), times(0.00236), times(0.0)), ("1/9.3".into(), "1/424".into(), "×0".into()));
        assert_eq!((percent(0.0), percent(0.0005), percent(0.123)), ("0 %".into(), "0.050 %".into(), "12 %".into()));
        assert_eq!(bytes(12_345_678.0), "12.3 MB");
    }
}
