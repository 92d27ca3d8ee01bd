//! Writes the seeds that are made by code into `seeds/`; run it after changing a message or a target's input format.

use std::fs;

fn main() -> std::io::Result<()> {
    for target in dhcp_xdp_fuzz::TARGETS {
        let folder = dhcp_xdp_fuzz::seeds_folder().join(target.name);
        fs::create_dir_all(&folder)?;
        for (name, bytes) in (target.seeds)() {
            fs::write(folder.join(name), bytes)?;
        }
    }
    Ok(())
}
