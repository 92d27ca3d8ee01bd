//! What each counter of `dhcp-xdp stats` counts: a text made from the documentation of the counters themselves.

/// `docs/counters.md`; a test holds it against the sources.
pub(super) const EXPLANATIONS: &str = include_str!("../../../docs/counters.md");

#[cfg(test)]
mod tests {
    use std::fmt::{Debug, Write as _};

    use dhcp_xdp::worker::counters::{DropReason, Message, Notice};
    use dhcp_xdp_ebpf::Verdict;

    use super::*;

    const COUNTERS: &str = include_str!("../worker/counters.rs");
    const ABI: &str = include_str!("../../../dhcp-xdp-ebpf/src/abi.rs");

    const HEAD: &str = "\
# What `dhcp-xdp stats` counts

Made from the sources; a test compares. `dhcp-xdp stats --explain` prints it. The frames' books close:
`seen = passed + redirected`, and `redirected = answered + parked + dropped + ring_losses + in_rings`.

## Addresses (`leases`)

- `total`: in all pools, and the reserved ones outside of them.
- `bound`: leased, and the time has not run out.
- `offered`: held for a client that was offered it and has not asked for it yet.
- `remembered`: released or expired; free for anybody, but its last client gets it back if it comes in time.
- `declined`: a client, or the ping check, found it in use by somebody else; it is not offered for `decline_quarantine_s`.
- `agent_info_left_out`: how often option 82 was not kept with a lease because its memory is used up; a renewal that goes past the
  relay agent is then decided without it.
";

    /// The variants of an enum, or the fields of a struct, with their documentation, as they stand in a source.
    fn documented(source: &str, name: &str) -> Vec<(String, String)> {
        let body = source.split_once(&format!("{name} {{\n")).expect(name).1;
        let mut docs = String::new();
        let mut found = Vec::new();
        for line in body.lines().map(str::trim).take_while(|line| *line != "}") {
            let of_struct = line.strip_prefix("pub ");
            if let Some(doc) = line.strip_prefix("///") {
                docs.push_str(doc);
            } else if of_struct.is_some() || line.starts_with(|c: char| c.is_ascii_uppercase()) {
                let is_end = |c: char| !(c.is_alphanumeric() || c == '_');
                let name = of_struct.unwrap_or(line).split(is_end).next().unwrap_or_default();
                found.push((name.to_owned(), std::mem::take(&mut docs).trim().to_owned()));
            }
        }
        found
    }

    fn section<T: Copy + Debug>(
        text: &mut String,
        title: &str,
        source: &str,
        all: &[T],
        name: impl Fn(T) -> &'static str,
    ) {
        let kind = std::any::type_name::<T>().rsplit("::").next().unwrap();
        let documented = documented(source, kind);
        assert_eq!(documented.len(), all.len(), "{kind}");
        write!(text, "\n## {title}\n\n").unwrap();
        for (one, (variant, docs)) in all.iter().zip(documented) {
            assert_eq!(format!("{one:?}"), variant);
            assert!(!docs.is_empty(), "{variant}");
            writeln!(text, "- `{}`: {docs}", name(*one)).unwrap();
        }
    }

    fn fields(text: &mut String, title: &str, source: &str, name: &str) {
        write!(text, "\n## {title}\n\n").unwrap();
        let documented = documented(source, &format!("pub struct {name}"));
        assert!(!documented.is_empty() && documented.iter().all(|(_, docs)| !docs.is_empty()), "{name}");
        for (field, docs) in documented {
            writeln!(text, "- `{field}`: {docs}").unwrap();
        }
    }

    #[test]
    fn the_explanations_are_those_of_the_sources() {
        let mut text = String::from(HEAD);
        let title = "Lease history (`events.history`; none without `[history]`)";
        fields(&mut text, title, include_str!("../events/recorder.rs"), "HistoryStats");
        fields(
            &mut text,
            "Hook (`events.hook`; none without `[hook]`)",
            include_str!("../events/hook.rs"),
            "HookStats",
        );
        let title = "Ping check (`ping_check`; none without it)";
        fields(&mut text, title, include_str!("../ping/prober.rs"), "PingStats");
        let title = "Leasequery over TCP (`leasequery_tcp`; none without `[leasequery.tcp]`)";
        fields(&mut text, title, include_str!("../leasequery/tcp/counters.rs"), "TcpStats");
        section(&mut text, "What XDP did with each frame (`xdp`)", ABI, &Verdict::ALL, Verdict::name);
        section(&mut text, "Messages (`messages`)", COUNTERS, Message::ALL, Message::name);
        let title = "Why a redirected frame got no reply (`drops`)";
        section(&mut text, title, COUNTERS, DropReason::ALL, DropReason::name);
        section(&mut text, "To be noticed (`notices`)", COUNTERS, Notice::ALL, Notice::name);
        if EXPLANATIONS != text {
            let made = std::env::temp_dir().join("counters.md");
            std::fs::write(&made, &text).unwrap();
            panic!("docs/counters.md is not what the sources say: replace it with {}", made.display());
        }
    }
}
