//! Captures: tcpdump writes, tshark judges.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;

use super::{Namespace, Process};
use crate::command;

/// A capture of all DHCP on an interface, tagged or not.
#[derive(Debug)]
pub struct Capture {
    process: Process,
    file: PathBuf,
}

impl Capture {
    /// Starts it; once this returns, nothing is missed.
    ///
    /// # Errors
    /// tcpdump is not installed or cannot listen.
    pub fn start(namespace: &Namespace, interface: &str, file: impl Into<PathBuf>) -> Result<Self> {
        let file = file.into();
        let mut command = namespace.command("tcpdump")?;
        // Small buffers and no waiting for a full block: short exchanges are what we look at.
        command.args(["-i", interface, "-s", "0", "-U", "--immediate-mode", "-Z", "root", "-w"]).arg(&file);
        let ports = "udp port 67 or udp port 68";
        command.arg(format!("({ports}) or (vlan and ({ports})) or (vlan and ({ports}))"));
        let mut process = Process::spawn(&mut command, file.with_extension("log"))?;
        process.wait_for_output("listening on", Duration::from_secs(10))?;
        Ok(Self { process, file })
    }

    /// Ends it and gives what was captured.
    ///
    /// # Errors
    /// tcpdump failed.
    pub fn stop(mut self) -> Result<Captured> {
        // What has just been sent passes the tap before the reader sees it, but may wait in tcpdump's ring.
        std::thread::sleep(Duration::from_millis(100));
        self.process.signal(Signal::SIGINT)?;
        let status = self.process.wait(Duration::from_secs(5))?;
        ensure!(status.success(), "tcpdump ended with {status}: {}", self.process.log());
        Ok(Captured { file: self.file.clone() })
    }
}

/// A finished capture.
#[derive(Debug)]
pub struct Captured {
    file: PathBuf,
}

impl Captured {
    /// The file, in pcap's format.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Its frames, tags included.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn frames(&self) -> Result<Vec<Vec<u8>>> {
        parse(&fs::read(&self.file).with_context(|| format!("cannot read {}", self.file.display()))?)
    }

    /// What tshark says of the frames that pass this display filter, one line each.
    ///
    /// # Errors
    /// tshark is not installed, or does not know the filter.
    pub fn tshark(&self, filter: &str) -> Result<Vec<String>> {
        let mut tshark = command::tool("tshark")?;
        tshark.arg("-r").arg(&self.file).args(["-n", "-o", "ip.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE"]);
        let text = command::output(tshark.args(["-Y", filter]))?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// An error when tshark finds a malformed field in any frame, or a wrong checksum in a frame from this address.
    ///
    /// Checksums of the other side are not looked at: veth leaves them to hardware that is not there.
    ///
    /// # Errors
    /// See there, with tshark's line about each.
    pub fn expect_well_formed(&self, server: &str) -> Result<()> {
        let bad = self.tshark(&format!(
            "_ws.malformed || (ip.src == {server} && (udp.checksum.status == \"Bad\" || ip.checksum.status == \"Bad\"))"
        ))?;
        if !bad.is_empty() {
            bail!("tshark finds fault with {} of the frames:\n{}", bad.len(), bad.join("\n"));
        }
        Ok(())
    }
}

/// Reads pcap's classic format, in this machine's byte order: tcpdump wrote it here (pcap-savefile(5)).
fn parse(file: &[u8]) -> Result<Vec<Vec<u8>>> {
    const HEADER: usize = 24;
    const RECORD: usize = 16;
    let word = |offset: usize| {
        let bytes = file.get(offset..offset + 4)?;
        Some(u32::from_ne_bytes(bytes.try_into().ok()?))
    };
    if !matches!(word(0), Some(0xa1b2_c3d4 | 0xa1b2_3c4d)) {
        bail!("not a capture in pcap's format");
    }
    let mut frames = Vec::new();
    let mut offset = HEADER;
    // A last record that is cut short was being written.
    while let Some(len) = word(offset + 8) {
        let start = offset + RECORD;
        let end = start + len as usize;
        let Some(frame) = file.get(start..end) else { break };
        frames.push(frame.to_vec());
        offset = end;
    }
    Ok(frames)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> Vec<u8> {
        let mut file = Vec::new();
        file.extend(0xa1b2_c3d4u32.to_ne_bytes());
        file.extend([0; 20]);
        for frame in [&b"one"[..], b"three"] {
            file.extend([0; 8]);
            file.extend((frame.len() as u32).to_ne_bytes());
            file.extend((frame.len() as u32).to_ne_bytes());
            file.extend(frame);
        }
        file
    }

    #[test]
    fn frames_come_out_as_they_went_in() {
        assert_eq!(parse(&file()).unwrap(), [b"one".to_vec(), b"three".to_vec()]);
    }

    #[test]
    fn a_file_cut_anywhere_gives_whole_frames_or_an_error() {
        let file = file();
        for len in 0..file.len() {
            if let Ok(frames) = parse(&file[..len]) {
                assert!(frames.len() < 2, "cut at {len}");
            }
        }
        assert!(parse(&[0; 40]).is_err());
    }
}
