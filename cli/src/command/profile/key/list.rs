//! `cbrowse profile key list`: devices, and whatever else opens the account key.

use cbrowse_profile::account::{Account, log::Members};
use serde_json::{Value, json};

use super::account;
use crate::{
    command::{
        login::blocking,
        nodes::table::{Align, Table},
    },
    context::{Globals, Paths},
    date,
    failure::Failure,
    keyring::{
        Keyring,
        passphrase::{PassphraseArgs, PassphraseSource},
    },
};

/// Arguments of `cbrowse profile key list`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where the passphrase comes from when no keyring answers.
    #[command(flatten)]
    pub passphrase: PassphraseArgs,
}

struct Listed {
    account: Account,
    kept_in: String,
    own: Option<cbrowse_profile::account::device::DeviceKey>,
}

/// Lists. Changes nothing, unless a rotation is to be finished.
pub async fn run(args: &Args, globals: &Globals) -> Result<(), Failure> {
    let (paths, source) = (globals.paths.clone(), args.passphrase.source());
    let Some(listed) = blocking(move || list(&paths, source)).await? else {
        if globals.output.is_json() {
            return globals.output.document(&json!({ "epoch": null, "devices": [], "slots": [] }));
        }
        globals
            .output
            .note("there is no account key yet; the first profile makes one: cbrowse profile create NAME");
        return Ok(());
    };
    if globals.output.is_json() {
        return globals.output.document(&listed.to_json());
    }
    listed.tell(globals)
}

fn list(paths: &Paths, source: PassphraseSource) -> Result<Option<Listed>, Failure> {
    let keyring = Keyring::open(paths, source);
    let Some(account) = account::open(paths, &keyring)? else { return Ok(None) };
    let own = account::known_device(&keyring)?.map(|secret| secret.public());
    Ok(Some(Listed { account, kept_in: keyring.describe(), own }))
}

impl Listed {
    fn members(&self) -> Members {
        self.account.log().map(|log| log.members().clone()).unwrap_or_default()
    }

    fn to_json(&self) -> Value {
        let members = self.members();
        let devices: Vec<_> = members
            .devices
            .iter()
            .map(|device| {
                json!({
                    "device": device.name.as_str(), "added": device.added, "revoked": device.revoked,
                    "this": Some(device.key) == self.own,
                })
            })
            .collect();
        let since = members.epochs.last().map(|epoch| epoch.since);
        let mut slots = vec![
            json!({ "kind": "kept", "in": self.kept_in, "since": null }),
            json!({ "kind": "recovery_words", "since": since }),
        ];
        if let Some(added) = members.passphrase {
            slots.push(json!({ "kind": "passphrase", "since": added }));
        }
        json!({ "epoch": self.account.epoch(), "since": since, "devices": devices, "slots": slots })
    }

    fn tell(&self, globals: &Globals) -> Result<(), Failure> {
        let (output, members) = (&globals.output, self.members());
        let mut table = Table::new(&[
            ("WHAT OPENS THE ACCOUNT KEY", Align::Left),
            ("SINCE", Align::Left),
            ("UNTIL", Align::Left),
        ]);
        let since = members.epochs.last().map_or_else(String::new, |epoch| date::utc(epoch.since));
        table.row(None, vec![format!("here: {}", self.kept_in), String::new(), String::new()]);
        table.row(None, vec!["recovery words".into(), since, String::new()]);
        if let Some(added) = members.passphrase {
            table.row(None, vec!["passphrase".into(), date::utc(added), String::new()]);
        }
        for device in &members.devices {
            let this = if Some(device.key) == self.own { " (this one)" } else { "" };
            let until =
                device.revoked.map_or_else(String::new, |time| format!("{} revoked", date::utc(time)));
            table.row(None, vec![format!("device {}{this}", device.name), date::utc(device.added), until]);
        }
        output.print(&table.render(output))?;
        output.note(format_args!("epoch {}", self.account.epoch()));
        Ok(())
    }
}
