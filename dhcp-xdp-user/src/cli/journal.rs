//! `dhcp-xdp journal [check|repair]`

use std::{
    io::{self, BufRead as _, IsTerminal as _, Write as _},
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use dhcp_xdp::{
    config::DEFAULT_STATE_DIR,
    control::{SOCKET_NAME, client::Client, now_s, rfc3339},
    journal::{self, Damage, Inspection, JournalError, Progress, Repair, Repaired},
};
use serde::Serialize;

use super::{
    failure::{Done, Failure},
    output::Output,
    progress,
};

/// Addresses that are named in one line.
const NAMED: usize = 20;

/// Check a server's journal for damage, or save what can be read of a damaged one
///
/// The journal is the files `journal-*.seg` in the state directory: every lease that a client was told of.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  dhcp-xdp journal check\n  dhcp-xdp journal repair --state-dir /var/lib/dhcp-xdp")]
pub(super) struct Journal {
    /// The server's state directory
    #[arg(long, global = true, value_name = "DIR", default_value = DEFAULT_STATE_DIR)]
    state_dir: PathBuf,
    #[command(subcommand)]
    command: JournalCommand,
}

#[derive(Debug, Subcommand)]
enum JournalCommand {
    /// Say what is there and what is damaged; changes nothing, and may be used beside a running server
    ///
    /// Exit code: 0 good, 1 damaged (or it cannot be read), 2 wrong usage.
    #[command(
        after_help = "Example:\n  dhcp-xdp journal check\n  dhcp-xdp journal check --state-dir /tmp/state --json"
    )]
    Check {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Write a sound journal of all records that can be read, and keep the damaged files beside it
    ///
    /// Needs a stopped server. Says first what it will do and what cannot be saved, and asks. The files are kept as they are in a
    /// folder of the state directory; nothing is deleted. Does nothing when there is no damage. When it is broken off, the journal
    /// is as damaged as before or repaired: do it again.
    #[command(
        after_help = "Example:\n  dhcp-xdp journal repair\n  dhcp-xdp journal repair --state-dir /tmp/state --yes"
    )]
    Repair {
        /// Do not ask
        #[arg(long)]
        yes: bool,
        /// Say as JSON what was found and what was done; without --yes, nothing is done
        #[arg(long)]
        json: bool,
    },
}

impl Journal {
    pub fn run(self) -> Done {
        let dir = &self.state_dir;
        if !dir.is_dir() {
            let dir = dir.display();
            return Err(Failure::Failed(format!(
                "{dir}: there is no such directory: say with --state-dir where it is"
            )));
        }
        match self.command {
            JournalCommand::Check { json } => check(dir, json),
            JournalCommand::Repair { yes, json } => repair(dir, yes, json),
        }
    }
}

/// What `--json` writes.
#[derive(Serialize)]
struct View<'a> {
    state_dir: &'a Path,
    /// Whether a server would start with it (before the repair).
    sound: bool,
    #[serde(flatten)]
    inspection: &'a Inspection,
    #[serde(skip_serializing_if = "Option::is_none")]
    repaired: Option<&'a Repaired>,
}

fn check(dir: &Path, json: bool) -> Done {
    let inspection = with_bar("reading", |progress| journal::inspect(dir, now_s(), progress)).map_err(Failure::of)?;
    expect_journal(dir, &inspection)?;
    let mut out = Output::new();
    if json {
        out.json(&View { state_dir: dir, sound: inspection.is_sound(), inspection: &inspection, repaired: None })?;
    } else {
        for line in describe(dir, &inspection) {
            out.line(line)?;
        }
        if inspection.torn_bytes > 0 && Client::connect(&dir.join(SOCKET_NAME)).is_ok() {
            out.line("                 (a server is running: it may be writing them just now)")?;
        }
        if !inspection.is_sound() {
            out.line(format!(
                "\n`dhcp-xdp journal repair --state-dir {}` saves the records that can be read.",
                dir.display()
            ))?;
        }
    }
    out.flush()?;
    if inspection.is_sound() { Ok(()) } else { Err(Failure::Told { usage: false }) }
}

fn repair(dir: &Path, yes: bool, json: bool) -> Done {
    let repair = with_bar("reading", |progress| Repair::open(dir, now_s(), progress)).map_err(|error| match error {
        JournalError::InUse { path } => Failure::Failed(format!("{path}: a server holds it: stop that server first")),
        other => Failure::of(other),
    })?;
    let inspection = repair.inspection().clone();
    expect_journal(dir, &inspection)?;
    let mut out = Output::new();
    if !json {
        for line in describe(dir, &inspection) {
            out.line(line)?;
        }
        if inspection.is_sound() {
            out.line("\nThere is nothing to repair.")?;
            return out.flush();
        }
        for line in intend(&repair) {
            out.line(line)?;
        }
        out.flush()?;
    }
    let go_on = yes || (!json && confirm()?);
    let repaired = match go_on && !inspection.is_sound() {
        true => Some(with_bar("repairing", |progress| repair.run(progress)).map_err(Failure::of)?),
        false => None,
    };
    if json {
        let view =
            View { state_dir: dir, sound: inspection.is_sound(), inspection: &inspection, repaired: repaired.as_ref() };
        out.json(&view)?;
    } else if let Some(repaired) = &repaired {
        out.line(format!("\nDone: {} saved; a server starts with it now.", addresses(repaired.saved)))?;
    }
    out.flush()?;
    if inspection.is_sound() || repaired.is_some() { Ok(()) } else { Err(Failure::Told { usage: false }) }
}

fn expect_journal(dir: &Path, inspection: &Inspection) -> Done {
    if !inspection.segments.is_empty() {
        return Ok(());
    }
    Err(Failure::Failed(format!("there is no journal in {}: say with --state-dir where it is", dir.display())))
}

/// Reads with a bar on a terminal.
fn with_bar<T>(what: &'static str, read: impl FnOnce(&mut dyn FnMut(Progress)) -> T) -> T {
    let bar = progress::bytes(what, Some(0));
    let result = read(&mut |progress| {
        bar.set_length(progress.total);
        bar.set_position(progress.done);
    });
    bar.finish_and_clear();
    result
}

fn some(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn addresses(count: u64) -> String {
    format!("{count} address{}", if count == 1 { "" } else { "es" })
}

/// What is there, for people.
fn describe(dir: &Path, found: &Inspection) -> Vec<String> {
    let bytes: u64 = found.segments.iter().map(|segment| segment.bytes).sum();
    let verdict = if found.is_sound() { "sound" } else { "DAMAGED: no server starts with it" };
    let mut lines = vec![
        format!("journal in {}: {verdict}", dir.display()),
        format!("segments         {} of {bytes} bytes", found.segments.len()),
        format!("records          {} of {}", found.records, addresses(found.addresses)),
        format!("live bindings    {}", found.live),
    ];
    if found.torn_bytes > 0 {
        let cut = "of an unfinished write, which no client was told of; the next start cuts them off";
        lines.push(format!("torn end         {} {cut}", some(found.torn_bytes, "byte")));
    }
    for ignored in &found.ignored {
        lines.push(format!("does not count   {}: {}", ignored.name, ignored.why));
    }
    lines.extend(found.damage.iter().map(|damage| format!("damage           {}", describe_damage(damage))));
    lines.extend(describe_loss(dir, found));
    lines
}

fn describe_damage(damage: &Damage) -> String {
    let Damage { segment, offset, bytes, kind, lost, put_right, records_before, records_after } = damage;
    let mut text = format!("{segment}, byte {offset}: {}, {}", kind.name(), some(*bytes, "byte"));
    if *put_right > 0 {
        text.push_str(&format!("; {} put right from the checksum", some(*put_right, "record")));
    }
    if *lost > 0 {
        text.push_str(&format!("; at most {} lost", some(*lost, "record")));
    }
    format!("{text}; {records_before} before and {records_after} after it can be read")
}

/// What is gone and what that means.
fn describe_loss(dir: &Path, found: &Inspection) -> Vec<String> {
    let mut lines = Vec::new();
    if !found.suspects.is_empty() {
        // Without the names, the numbers say which VPN it is.
        let vrfs = journal::known_vrfs(dir).unwrap_or_default();
        let named: Vec<String> = found.suspects.iter().take(NAMED).map(|at| vrfs.place(*at)).collect();
        let more = found.suspects.len().saturating_sub(NAMED);
        let more = if more > 0 { format!(" and {more} more (--json has them all)") } else { String::new() };
        lines.push(format!("probably lost    the last change of {}{more}", named.join(", ")));
    }
    if found.nameless > 0 {
        let records = some(found.nameless, "lost record");
        lines.push(format!("unknown          {records} at most, which may be of any address"));
    }
    if !found.suspects.is_empty() || found.nameless > 0 {
        let until = found.last_expiry_s.map_or_else(|| "their leases end".into(), rfc3339);
        lines.push(format!(
            "                 such an address may be held, until {until}, by a client that the journal does not name"
        ));
    }
    lines
}

/// What a repair will do.
fn intend(repair: &Repair) -> Vec<String> {
    let found = repair.inspection();
    vec![
        String::new(),
        "Repairing will".into(),
        format!("- keep all segments as they are in {}/", repair.keeps_in().display()),
        format!("- write the last readable record of {} to {}", addresses(found.addresses), repair.writes().display()),
        match found.lost() {
            0 => "- lose nothing: all records can be read".into(),
            lost => format!("- be unable to save {} at most, as said above", some(lost, "record")),
        },
    ]
}

/// Asks on a terminal.
fn confirm() -> Result<bool, Failure> {
    if !io::stdin().is_terminal() {
        eprintln!("dhcp-xdp: nothing is changed; say --yes to go on");
        return Ok(false);
    }
    eprint!("\nGo on? [y/N] ");
    // Nobody sees the question if that fails, and the answer is no.
    let _ = io::stderr().flush();
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).map_err(Failure::of)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
