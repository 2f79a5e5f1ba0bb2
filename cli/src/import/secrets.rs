//! What a browser encrypted for this machine, made readable for another Chromium: opened with the browser's keys and sealed
//! again under the password that every Chromium without a keyring knows. Works on the staged copies alone.

use std::{collections::BTreeMap, fs, path::Path};

use rusqlite::{Connection, OptionalExtension as _, params, types::ValueRef};
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use super::{
    ImportError,
    copy::{Left, Why},
    crypt::{self, Expected, HASHED_FROM_VERSION, Keys, Undecryptable},
    database, sessions,
};

/// Rows in memory at once.
const ROWS: usize = 256;

/// A column of encrypted values.
struct Column {
    files: &'static [&'static str],
    table: &'static str,
    name: &'static str,
    kind: What,
    clear: Clear,
    /// What becomes of a row whose value does not open.
    otherwise: Otherwise,
}

#[derive(Clone, Copy)]
enum Clear {
    /// A cookie, whose host says what the value starts with.
    Cookie,
    Text,
    Bytes,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Otherwise {
    Drop,
    /// The row is of use without it.
    Empty,
}

/// What a value is to a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// A cookie.
    Cookies,
    /// A saved login.
    Logins,
    /// A note to a login.
    Notes,
    /// Cards, bank accounts, and what else fills forms.
    Autofill,
    /// A search engine's check.
    SearchEngines,
    /// Open tabs.
    Tabs,
}

const COOKIES: &[&str] = &["Cookies", "Network/Cookies"];
const LOGINS: &[&str] = &["Login Data", "Login Data For Account"];
const WEB_DATA: &[&str] = &["Web Data", "Account Web Data"];

const fn column(
    files: &'static [&'static str],
    table: &'static str,
    name: &'static str,
    kind: What,
    clear: Clear,
) -> Column {
    Column { files, table, name, kind, clear, otherwise: Otherwise::Drop }
}

const COLUMNS: &[Column] = &[
    column(COOKIES, "cookies", "encrypted_value", What::Cookies, Clear::Cookie),
    column(LOGINS, "logins", "password_value", What::Logins, Clear::Text),
    column(LOGINS, "password_notes", "value", What::Notes, Clear::Text),
    column(WEB_DATA, "credit_cards", "card_number_encrypted", What::Autofill, Clear::Text),
    column(WEB_DATA, "local_ibans", "value_encrypted", What::Autofill, Clear::Text),
    column(WEB_DATA, "local_stored_cvc", "value_encrypted", What::Autofill, Clear::Text),
    column(WEB_DATA, "server_stored_cvc", "value_encrypted", What::Autofill, Clear::Text),
    column(WEB_DATA, "autofill_ai_attributes", "value_encrypted", What::Autofill, Clear::Text),
    column(
        WEB_DATA,
        "generic_payment_instruments",
        "serialized_value_encrypted",
        What::Autofill,
        Clear::Bytes,
    ),
    column(
        WEB_DATA,
        "payment_instrument_creation_options",
        "serialized_value_encrypted",
        What::Autofill,
        Clear::Bytes,
    ),
    Column {
        otherwise: Otherwise::Empty,
        ..column(WEB_DATA, "keywords", "url_hash", What::SearchEngines, Clear::Bytes)
    },
];

/// The browser's own sign-in to its maker's account. It is bound to this machine and stays here.
const SIGN_IN: (&[&str], &str) = (WEB_DATA, "token_service");

/// What came of it.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Secrets {
    /// Values that were encrypted and can be read elsewhere now.
    pub carried: BTreeMap<What, u64>,
    /// Values that were dropped, with the reason.
    pub dropped: Vec<Dropped>,
    /// Why the keyring gave no key, where one was wanted.
    pub keyring: Option<String>,
}

/// Values of one kind that were dropped for one reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Dropped {
    /// What they were.
    pub what: What,
    /// Why.
    pub reason: Undecryptable,
    /// How many.
    pub count: u64,
}

impl Secrets {
    fn carry(&mut self, what: What) {
        *self.carried.entry(what).or_default() += 1;
    }

    fn drop(&mut self, what: What, reason: Undecryptable) {
        match self.dropped.iter_mut().find(|one| one.what == what && one.reason == reason) {
            Some(one) => one.count += 1,
            None => self.dropped.push(Dropped { what, reason, count: 1 }),
        }
    }
}

/// Whether any value needs a key that is in the keyring.
pub fn wants_keyring(profile: &Path, stop: &CancellationToken) -> Result<bool, ImportError> {
    for (file, columns) in by_file() {
        let path = profile.join(file);
        let Some(connection) = open(&path)? else { continue };
        for column in columns {
            if stop.is_cancelled() {
                return Err(ImportError::Interrupted);
            }
            let Column { table, name, .. } = column;
            if !has(&connection, table, name).map_err(|error| failed(&path, &error))? {
                continue;
            }
            let wanted = format!(
                "SELECT EXISTS (SELECT 1 FROM {table} WHERE substr(CAST({name} AS BLOB), 1, 3) = x'763131')"
            );
            if connection.query_row(&wanted, [], |row| row.get(0)).map_err(|error| failed(&path, &error))? {
                return Ok(true);
            }
        }
    }
    Ok(sessions::want_keyring(profile))
}

/// Makes every value readable elsewhere; rows whose value does not open are dropped and counted. `keyring` says why the
/// keyring gave no key.
pub fn rewrite(
    profile: &Path,
    keys: &Keys,
    keyring: Option<String>,
    left: &mut Vec<Left>,
    stop: &CancellationToken,
) -> Result<Secrets, ImportError> {
    let mut secrets = Secrets { keyring, ..Secrets::default() };
    for (file, columns) in by_file() {
        let path = profile.join(file);
        let Some(mut connection) = open(&path)? else { continue };
        let rewritten = rewrite_file(&mut connection, &columns, keys, &mut secrets, stop);
        drop(connection);
        match rewritten {
            Ok(true) => {}
            Ok(false) => return Err(ImportError::Interrupted),
            Err(error) if matches!(error, rusqlite::Error::SqliteFailure(..)) => {
                return Err(failed(&path, &error));
            }
            // A database of another shape than any browser's: what is in it cannot be judged, so it stays.
            Err(_) => {
                fs::remove_file(&path).map_err(|source| ImportError::Write { path: path.clone(), source })?;
                left.push(Left { path: file.into(), reason: Why::Damaged });
            }
        }
    }
    for told in sessions::rewrite(profile, keys)? {
        match told {
            sessions::Told::Carried => secrets.carry(What::Tabs),
            sessions::Told::Dropped(path, reason) => {
                secrets.drop(What::Tabs, reason);
                left.push(Left { path, reason: Why::Encrypted });
            }
        }
    }
    Ok(secrets)
}

fn by_file() -> Vec<(&'static str, Vec<&'static Column>)> {
    let files = [COOKIES, LOGINS, WEB_DATA].concat();
    let of = |file: &&'static str| COLUMNS.iter().filter(|column| column.files.contains(file)).collect();
    files.iter().map(|file| (*file, of(file))).collect()
}

fn open(path: &Path) -> Result<Option<Connection>, ImportError> {
    if !path.exists() {
        return Ok(None);
    }
    let opened = Connection::open(path).and_then(|connection| {
        database::light(&connection)?;
        Ok(connection)
    });
    opened.map(Some).map_err(|error| failed(path, &error))
}

fn failed(path: &Path, error: &rusqlite::Error) -> ImportError {
    let source = match database::wrote(error) {
        database::DatabaseError::Write(source) => source,
        _ => std::io::Error::other("the staged copy"),
    };
    ImportError::Write { path: path.to_owned(), source }
}

fn has(connection: &Connection, table: &str, column: &str) -> rusqlite::Result<bool> {
    let found = connection.query_row(
        "SELECT 1 FROM pragma_table_info(?1) WHERE name = ?2",
        params![table, column],
        |_| Ok(()),
    );
    Ok(found.optional()?.is_some())
}

/// `false` when it was interrupted.
fn rewrite_file(
    connection: &mut Connection,
    columns: &[&Column],
    keys: &Keys,
    secrets: &mut Secrets,
    stop: &CancellationToken,
) -> rusqlite::Result<bool> {
    let hashed = version(connection)? >= HASHED_FROM_VERSION;
    let transaction = connection.transaction()?;
    for column in columns {
        if has(&transaction, column.table, column.name)?
            && !rewrite_column(&transaction, column, hashed, keys, secrets, stop)?
        {
            return Ok(false);
        }
    }
    if columns.iter().any(|column| SIGN_IN.0 == column.files) && has(&transaction, SIGN_IN.1, "service")? {
        transaction.execute(&format!("DELETE FROM {}", SIGN_IN.1), [])?;
    }
    transaction.commit()?;
    Ok(true)
}

/// Of the database; 0 where it does not say.
fn version(connection: &Connection) -> rusqlite::Result<i64> {
    if !has(connection, "meta", "value")? {
        return Ok(0);
    }
    let sql = "SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'version'";
    Ok(connection.query_row(sql, [], |row| row.get(0)).optional()?.unwrap_or(0))
}

struct Row {
    id: i64,
    value: Vec<u8>,
    host: String,
}

fn rewrite_column(
    connection: &Connection,
    column: &Column,
    hashed: bool,
    keys: &Keys,
    secrets: &mut Secrets,
    stop: &CancellationToken,
) -> rusqlite::Result<bool> {
    let mut after = i64::MIN;
    loop {
        if stop.is_cancelled() {
            return Ok(false);
        }
        let rows = rows(connection, column, after)?;
        let Some(last) = rows.last() else { return Ok(true) };
        after = last.id;
        for row in &rows {
            if crypt::is_encrypted(&row.value) {
                rewrite_row(connection, column, row, hashed, keys, secrets)?;
            }
        }
    }
}

fn rows(connection: &Connection, column: &Column, after: i64) -> rusqlite::Result<Vec<Row>> {
    let Column { table, name, .. } = column;
    let host = if matches!(column.clear, Clear::Cookie) { "host_key" } else { "''" };
    let sql = format!(
        "SELECT rowid, {name}, {host} FROM {table} WHERE rowid > ?1 AND length({name}) > 0 ORDER BY rowid LIMIT {ROWS}"
    );
    let mut statement = connection.prepare(&sql)?;
    let read = |row: &rusqlite::Row<'_>| {
        let value = match row.get_ref(1)? {
            ValueRef::Blob(bytes) | ValueRef::Text(bytes) => bytes.to_vec(),
            _ => Vec::new(),
        };
        Ok(Row { id: row.get(0)?, value, host: row.get(2)? })
    };
    statement.query_map([after], read)?.collect()
}

fn rewrite_row(
    connection: &Connection,
    column: &Column,
    row: &Row,
    hashed: bool,
    keys: &Keys,
    secrets: &mut Secrets,
) -> rusqlite::Result<()> {
    let Column { table, name, kind, otherwise, .. } = column;
    let expected = match column.clear {
        Clear::Cookie if hashed => Expected::HashOf(&row.host),
        Clear::Cookie | Clear::Text => Expected::Text,
        Clear::Bytes => Expected::Bytes,
    };
    let opened: Result<Zeroizing<Vec<u8>>, Undecryptable> = keys.open(&row.value, expected);
    match (opened, otherwise) {
        (Ok(clear), _) => {
            connection.execute(
                &format!("UPDATE {table} SET {name} = ?1 WHERE rowid = ?2"),
                params![keys.seal(&clear), row.id],
            )?;
            secrets.carry(*kind);
        }
        (Err(reason), Otherwise::Drop) => {
            connection.execute(&format!("DELETE FROM {table} WHERE rowid = ?1"), [row.id])?;
            secrets.drop(*kind, reason);
        }
        (Err(_), Otherwise::Empty) => {
            connection.execute(&format!("UPDATE {table} SET {name} = NULL WHERE rowid = ?1"), [row.id])?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::digest;

    use super::*;

    fn profile() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let cookies = Connection::open(directory.path().join("Cookies")).unwrap();
        cookies
            .execute_batch(
                "CREATE TABLE meta(key TEXT, value TEXT); INSERT INTO meta VALUES ('version', '24');
                 CREATE TABLE cookies(host_key TEXT, name TEXT, value TEXT, encrypted_value BLOB);",
            )
            .unwrap();
        let logins = Connection::open(directory.path().join("Login Data")).unwrap();
        logins.execute_batch("CREATE TABLE logins(origin_url TEXT, password_value BLOB);").unwrap();
        let web = Connection::open(directory.path().join("Web Data")).unwrap();
        web.execute_batch(
            "CREATE TABLE token_service(service TEXT, encrypted_token BLOB); INSERT INTO token_service VALUES ('a', 'b');
             CREATE TABLE keywords(id INTEGER PRIMARY KEY, url_hash BLOB); INSERT INTO keywords VALUES (1, 'v11xx');
             CREATE TABLE local_ibans(guid TEXT PRIMARY KEY, value_encrypted VARCHAR);",
        )
        .unwrap();
        directory
    }

    fn keys(secret: &[u8]) -> Keys {
        Keys::new(&[b"peanuts", b""], &[Zeroizing::new(secret.to_vec())])
    }

    /// As a browser with the key `secret` in its keyring writes it: the same bytes under another prefix and key.
    fn v11(secret: &[u8], clear: &[u8]) -> Vec<u8> {
        crypt::tests_seal(b"v11", secret, clear)
    }

    fn hashed(host: &str, value: &str) -> Vec<u8> {
        [digest::digest(&digest::SHA256, host.as_bytes()).as_ref(), value.as_bytes()].concat()
    }

    fn add_cookie(profile: &Path, host: &str, value: &[u8]) {
        let cookies = Connection::open(profile.join("Cookies")).unwrap();
        cookies.execute("INSERT INTO cookies VALUES (?1, 'n', '', ?2)", params![host, value]).unwrap();
    }

    fn values(profile: &Path, file: &str, sql: &str) -> Vec<Vec<u8>> {
        let connection = Connection::open(profile.join(file)).unwrap();
        let mut statement = connection.prepare(sql).unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    }

    #[test]
    fn values_of_a_keyring_become_readable_and_the_rest_is_dropped_and_counted() {
        let directory = profile();
        let path = directory.path();
        add_cookie(path, "a.example", &v11(b"k", &hashed("a.example", "one")));
        add_cookie(path, "b.example", &v11(b"other", &hashed("b.example", "two")));
        add_cookie(path, "c.example", &v11(b"k", &hashed("a.example", "of another host")));
        add_cookie(path, "d.example", b"v20 bound");
        add_cookie(path, "e.example", b"");
        let logins = Connection::open(path.join("Login Data")).unwrap();
        logins.execute("INSERT INTO logins VALUES ('x', ?1)", [v11(b"k", b"password")]).unwrap();
        logins.execute("INSERT INTO logins VALUES ('never', x'')", []).unwrap();
        drop(logins);
        let stop = CancellationToken::new();
        assert!(wants_keyring(path, &stop).unwrap());
        let (keys, mut left) = (keys(b"k"), Vec::new());
        let secrets = rewrite(path, &keys, None, &mut left, &stop).unwrap();
        assert_eq!(secrets.carried, BTreeMap::from([(What::Cookies, 1), (What::Logins, 1)]));
        let dropped = |reason, count| Dropped { what: What::Cookies, reason, count };
        assert_eq!(
            secrets.dropped,
            [dropped(Undecryptable::WrongKey, 2), dropped(Undecryptable::AppBound, 1)]
        );
        let kept = values(path, "Cookies", "SELECT encrypted_value FROM cookies ORDER BY host_key");
        assert_eq!(kept, [keys.seal(&hashed("a.example", "one")), Vec::new()]);
        let kept = values(path, "Login Data", "SELECT password_value FROM logins ORDER BY rowid");
        assert_eq!(kept, [keys.seal(b"password"), Vec::new()]);
        assert!(values(path, "Web Data", "SELECT service FROM token_service").is_empty());
        let hash = Connection::open(path.join("Web Data")).unwrap().query_row(
            "SELECT url_hash IS NULL FROM keywords",
            [],
            |row| row.get::<_, bool>(0),
        );
        assert!(hash.unwrap());
        assert!(!wants_keyring(path, &stop).unwrap(), "all is readable without a keyring now");
        let again = rewrite(path, &keys, None, &mut left, &stop).unwrap();
        assert_eq!((again.carried, again.dropped.len()), (secrets.carried, 0));
    }

    #[test]
    fn without_the_key_nothing_half_readable_stays() {
        let directory = profile();
        add_cookie(directory.path(), "a.example", &v11(b"k", &hashed("a.example", "one")));
        let none = Keys::new(&[b"peanuts", b""], &[]);
        let why = Some("the keyring is locked".to_owned());
        let secrets =
            rewrite(directory.path(), &none, why.clone(), &mut Vec::new(), &CancellationToken::new())
                .unwrap();
        assert_eq!(secrets.keyring, why);
        assert_eq!(
            secrets.dropped,
            [Dropped { what: What::Cookies, reason: Undecryptable::NoKey, count: 1 }]
        );
        assert!(values(directory.path(), "Cookies", "SELECT encrypted_value FROM cookies").is_empty());
    }

    #[test]
    fn many_rows_are_all_rewritten() {
        let directory = profile();
        for index in 0..ROWS * 2 + 3 {
            let host = format!("h{index}.example");
            add_cookie(directory.path(), &host, &v11(b"k", &hashed(&host, "x")));
        }
        let secrets =
            rewrite(directory.path(), &keys(b"k"), None, &mut Vec::new(), &CancellationToken::new()).unwrap();
        assert_eq!(secrets.carried[&What::Cookies], ROWS as u64 * 2 + 3);
    }
}
