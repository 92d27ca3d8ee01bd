//! `[history]` and `[hook]`: what is done with lease events.

use std::{path::PathBuf, time::Duration};

use toml::Spanned;

use super::{
    check::Checker,
    file::{HistoryForm, HookForm, Text},
};
use crate::{
    events::{EventKind, HistorySettings, Hook, Settings},
    room::Reserve,
};

/// A day, in seconds.
const DAY_S: u64 = 24 * 3600;
/// Offsets within a file of the history have 32 bits.
const MOST_ROTATE_MIB: i64 = 4000;
/// A tebibyte.
const MOST_MIB: i64 = 1 << 20;

pub(super) fn settings(
    checker: &mut Checker<'_>,
    history: Option<&Spanned<HistoryForm>>,
    hook: Option<&Spanned<HookForm>>,
) -> Settings {
    Settings {
        history: history.map(|form| self::history(checker, form.get_ref())),
        hook: hook.and_then(|form| self::hook(checker, form)),
    }
}

fn history(checker: &mut Checker<'_>, form: &HistoryForm) -> HistorySettings {
    let mib = |mib: i64| mib.unsigned_abs() << 20;
    let rotate_mib = checker.number(form.rotate_mib.as_ref(), 1..=MOST_ROTATE_MIB, 64, " MiB");
    let max_mib = checker.number(form.max_mib.as_ref(), 0..=MOST_MIB, 0, " MiB");
    if let Some(given) = form.max_mib.as_ref().filter(|_| max_mib > 0 && max_mib < 2 * rotate_mib) {
        let least = 2 * rotate_mib;
        checker.error(
            given.span(),
            format!("found {max_mib}; expected at least {least} MiB, which is two files of rotate_mib, or 0: no limit"),
        );
    }
    let percent = checker.number(form.keep_free_percent.as_ref(), 0..=90, 10, " percent");
    let keep_free = Reserve {
        percent: u8::try_from(percent).unwrap_or(0),
        most_bytes: mib(checker.number(form.keep_free_mib.as_ref(), 0..=MOST_MIB, 2048, " MiB")),
    };
    let keep_days = checker.number(form.keep_days.as_ref(), 0..=36_500, 180, " days").unsigned_abs();
    let rotate_h = checker.number(form.rotate_h.as_ref(), 1..=24 * 366, 24, " hours").unsigned_abs();
    HistorySettings {
        directory: form.directory.as_ref().and_then(|text| absolute(checker, text, "a directory as /var/log/dhcp-xdp")),
        rotate_bytes: mib(rotate_mib),
        rotate_after: Duration::from_secs(rotate_h * 3600),
        keep: (keep_days > 0).then(|| Duration::from_secs(keep_days * DAY_S)),
        max_bytes: (max_mib > 0).then(|| mib(max_mib)),
        max_lag_bytes: mib(checker.number(form.max_lag_mib.as_ref(), 64..=MOST_MIB, 1024, " MiB")),
        keep_free,
    }
}

fn hook(checker: &mut Checker<'_>, form: &Spanned<HookForm>) -> Option<Hook> {
    let HookForm { command, events, rate_per_s, timeout_s, queue } = form.get_ref();
    let rate_per_s = checker.number(rate_per_s.as_ref(), 1..=1000, 50, " a second") as u32;
    let timeout_s = checker.number(timeout_s.as_ref(), 1..=3600, 10, " seconds").unsigned_abs();
    let queue = checker.number(queue.as_ref(), 1..=1_000_000, 1000, " events") as usize;
    let events = match events {
        None => EventKind::ALL.into_iter().filter(|kind| *kind != EventKind::Renewed).collect(),
        Some(names) => {
            if names.is_empty() {
                checker.error(form.span(), "`events` is empty: the hook is never run; leave [hook] out, or name some");
            }
            names.iter().filter_map(|name| event(checker, name)).collect()
        }
    };
    let Some(command) = command else {
        checker.error(form.span(), "`command` is missing; expected a program as command = \"/usr/local/bin/on-lease\"");
        return None;
    };
    let path = absolute(checker, command, "a program as /usr/local/bin/on-lease")?;
    if let Some(problem) = checker.program(&path) {
        checker.error(command.span(), format!("`{}` {problem}", path.display()));
    }
    Some(Hook { command: path, events, rate_per_s, timeout: Duration::from_secs(timeout_s), queue })
}

fn event(checker: &mut Checker<'_>, name: &Text) -> Option<EventKind> {
    let found = EventKind::ALL.into_iter().find(|kind| kind.name() == name.get_ref());
    if found.is_none() {
        let known = EventKind::ALL.map(EventKind::name).join(", ");
        checker.error(name.span(), format!("found `{}`; expected one of {known}", name.get_ref()));
    }
    found
}

fn absolute(checker: &mut Checker<'_>, text: &Text, expected: &str) -> Option<PathBuf> {
    let path = PathBuf::from(text.get_ref());
    if !path.is_absolute() || text.get_ref().contains('\0') {
        checker.error(text.span(), format!("found `{}`; expected the absolute path of {expected}", text.get_ref()));
        return None;
    }
    Some(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::config::{AnyMachine, Machine, ThisMachine, parse};

    const HEAD: &str =
        "[[interface]]\nname = \"lo\"\n[[subnet]]\nprefix = \"192.0.2.0/24\"\npools = [\"192.0.2.10-192.0.2.20\"]\n";

    fn read(text: &str, machine: &dyn Machine) -> Result<Settings, Vec<String>> {
        let checked = parse("f", &format!("{HEAD}{text}"), machine);
        checked.map(|checked| checked.config.events).map_err(|rejected| {
            rejected.findings.iter().map(ToString::to_string).filter(|text| !text.contains("interface")).collect()
        })
    }

    #[test]
    fn without_the_sections_there_is_neither() {
        assert_eq!(read("", &AnyMachine), Ok(Settings::default()));
    }

    #[test]
    fn empty_sections_have_the_documented_defaults() {
        let settings = read("[history]\n[hook]\ncommand = \"/bin/x\"\n", &AnyMachine).unwrap();
        let history = settings.history.unwrap();
        assert_eq!((history.directory, history.rotate_bytes, history.max_lag_bytes), (None, 64 << 20, 1 << 30));
        assert_eq!(history.rotate_after, Duration::from_secs(86_400));
        assert_eq!(history.keep, Some(Duration::from_secs(180 * 86_400)));
        let hook = settings.hook.unwrap();
        assert_eq!((hook.rate_per_s, hook.timeout, hook.queue), (50, Duration::from_secs(10), 1000));
        assert!(!hook.events.contains(&EventKind::Renewed) && hook.events.len() == 4);
        let none = read("[history]\nkeep_days = 0\nmax_mib = 0\n", &AnyMachine).unwrap().history.unwrap();
        assert_eq!((none.keep, none.max_bytes, history.max_bytes), (None, None, None));
        assert_eq!(history.keep_free, Reserve { percent: 10, most_bytes: 2 << 30 });
    }

    #[test]
    fn all_that_is_wrong_is_said_at_once_with_its_line() {
        let text = "[history]\ndirectory = \"here\"\nrotate_mib = 0\nkeep_days = -1\nmax_mib = 100\nkeep_free_percent = 91\n[hook]\nevents = [\"bound\", \"offered\"]\nrate_per_s = 5000\n";
        let errors = read(text, &AnyMachine).unwrap_err();
        for expected in [
            "f:7:13: error: history.directory: found `here`; expected the absolute path of a directory",
            "f:8:14: error: history.rotate_mib: found 0; expected 1 to 4000 MiB",
            "f:9:13: error: history.keep_days: found -1; expected 0 to 36500 days",
            "f:10:11: error: history.max_mib: found 100; expected at least 128 MiB, which is two files of rotate_mib, or 0",
            "f:11:21: error: history.keep_free_percent: found 91; expected 0 to 90 percent",
            "`command` is missing",
            "found `offered`; expected one of bound, renewed, released, expired, declined",
            "found 5000; expected 1 to 1000 a second",
        ] {
            assert!(errors.iter().any(|error| error.contains(expected)), "{expected}: {errors:#?}");
        }
    }

    #[test]
    fn a_hook_that_is_not_there_or_cannot_be_run_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("hook");
        let text = format!("[hook]\ncommand = \"{}\"\n", program.display());
        let error = || read(&text, &ThisMachine).unwrap_err().join("\n");
        assert!(error().contains("is not there"), "{}", error());
        std::fs::write(&program, "#!/bin/sh\n").unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(error().contains("is not executable; chmod +x it"), "{}", error());
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert!(!read(&text, &ThisMachine).is_err_and(|errors| errors.iter().any(|error| error.contains("hook"))));
        let folder = format!("[hook]\ncommand = \"{}\"\n", dir.path().display());
        assert!(read(&folder, &ThisMachine).unwrap_err().join("\n").contains("is no file"));
    }
}
