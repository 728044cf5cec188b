//! The settings of the server: `bailiwick.toml`, the environment, and files with secrets.
//!
//! [`settings`] declares every key once. From that one declaration come the typed [`Settings`], the errors
//! for what cannot be read, `bailiwick config reference` and `bailiwick config show`.
//!
//! Later sources win: defaults, the settings file, environment variables `BAILIWICK_<SECTION>__<KEY>`, and
//! for secrets the file that `<key>_file` names. Everything that is wrong is reported at once, with where it
//! stands, what is accepted and what to do; an unknown key is an error, so that a misspelt limit is never an
//! absent one.
//!
//! # Security
//! Whether a value is *safe* is not decided here but by the rules of [`crate::check`]: an unsafe setting can
//! be read, shown and explained, and `serve` refuses it. No error, no output and no `Debug` shows a secret.
mod fault;
mod key;
mod print;
mod read;
mod settings;
mod table;
mod types;
mod value;

use std::{io, sync::LazyLock};

use bailiwick::clock::Entropy;

pub(crate) use self::types::{directory_of, is_loopback_host};
pub use self::{
    fault::{Fault, Faults, Source},
    key::{MasterKey, create_private},
    print::reference,
    read::{CONFIG_VARIABLE, DEFAULT_FILE, DEVELOPMENT_KEY_FILE, Effective, Inputs, Loaded},
    settings::*,
    table::{Key, SectionInfo, Standing, Table},
    types::*,
    value::{Setting, Whole},
};

/// What to do without a master key.
pub(crate) const HOW_TO_MAKE_A_KEY: &str = "write 32 random bytes into a file that only the server can read \
     (`openssl rand -hex 32`), and name it with secrets.master_key_file";

impl Settings {
    /// What is known about every key.
    #[must_use]
    pub fn table() -> &'static Table {
        static TABLE: LazyLock<Table> = LazyLock::new(Table::of::<Settings>);
        &TABLE
    }
}

impl Loaded {
    /// Makes sure that there is a master key: in development one is made in `bailiwick.key`, beside the
    /// settings, where it is found again by the next start. Returns whether one was made.
    ///
    /// # Errors
    /// If there is none and this is production, or if the file cannot be written.
    pub fn ensure_master_key(&mut self, entropy: &dyn Entropy) -> Result<bool, Faults> {
        if self.settings.secrets.master_key.is_some() {
            return Ok(false);
        }
        let fault = |why: String, fix: String| {
            Faults::from(Fault {
                subject: "secrets.master_key".to_owned(),
                source: None,
                why,
                given: None,
                accepted: None,
                fix,
            })
        };
        if self.settings.server.environment == Environment::Production {
            return Err(fault("the master key is missing".to_owned(), HOW_TO_MAKE_A_KEY.to_owned()));
        }
        let path = self.development_key_file();
        let key = MasterKey::generate(entropy);
        let (key, made) = match key.write_new(&path) {
            Ok(()) => (key, true),
            // Another process was faster; both must use the same key.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                (read::read_key_file(&path)?, false)
            }
            Err(error) => {
                let fix = format!(
                    "let the server write to the directory of {}, or name a key with secrets.master_key_file",
                    path.display()
                );
                return Err(fault(format!("{} cannot be made: {error}", path.display()), fix));
            }
        };
        self.settings.secrets.master_key = Some(key);
        self.note_key_file(path);
        Ok(made)
    }
}
