//! Databases as Chromium's SQLite writes them: pages of 4 KiB, a rollback journal, no write-ahead log.

use std::{fs, path::Path};

use anyhow::Context as _;
use rusqlite::{Connection, params};

use super::contents::{noise, text};
use crate::seeded::Seeded;

/// Bytes of a row's text, and of what is opaque in it (pictures, encrypted values).
const TEXT: usize = 260;
const OPAQUE: usize = 240;

/// Makes one of about `length` bytes; gives its length.
pub(super) fn make(path: &Path, length: u64, chance: &mut Seeded) -> anyhow::Result<u64> {
    let mut database = open(path)?;
    database.execute_batch(
        "PRAGMA page_size = 4096; PRAGMA synchronous = OFF;
         CREATE TABLE items (id INTEGER PRIMARY KEY, url TEXT NOT NULL, title TEXT NOT NULL, value BLOB NOT NULL);
         CREATE INDEX by_url ON items (url);",
    )?;
    let rows = (length / 580).max(2);
    let transaction = database.transaction()?;
    {
        let mut insert = transaction.prepare("INSERT INTO items (url, title, value) VALUES (?1, ?2, ?3)")?;
        for row in 0..rows {
            let (mut words, mut value) = (Vec::new(), Vec::new());
            text(&mut words, TEXT, chance, b" ");
            words.truncate(TEXT);
            noise(&mut value, OPAQUE, chance);
            let url = format!("https://site{}.example/{row}", row % 997);
            insert.execute(params![url, String::from_utf8(words).context("words are text")?, value])?;
        }
    }
    transaction.commit()?;
    database.close().map_err(|(_, error)| error)?;
    Ok(fs::metadata(path)?.len())
}

/// A value of the same length in a row in the middle.
pub(super) fn change_row(path: &Path, number: u32) -> anyhow::Result<()> {
    let database = open(path)?;
    let mut value = Vec::new();
    noise(&mut value, OPAQUE, &mut Seeded::new(u64::from(number), 3));
    let middle = "(SELECT max(id) / 2 FROM items)";
    let changed =
        database.execute(&format!("UPDATE items SET value = ?1 WHERE id = {middle}"), params![value])?;
    anyhow::ensure!(changed == 1, "{changed} rows were changed in {}", path.display());
    database.close().map_err(|(_, error)| error.into())
}

fn open(path: &Path) -> anyhow::Result<Connection> {
    Connection::open(path).with_context(|| format!("open {}", path.display()))
}
