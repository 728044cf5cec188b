//! Takes away the files that no attachment names any more, or ever did.
use std::{convert::Infallible, sync::Arc, time::Duration};

use bailiwick::{
    clock::{Clock, SystemClock, Timestamp},
    store::Store,
    upload::{Collected, FileError, FileStore},
};

use crate::resources::attachment::attachment;

/// How old a file is before it is looked at. A request ends within minutes, whatever its limit: by then a file is named by
/// its row, or never will be.
const AGE: Duration = Duration::from_secs(60 * 60);
/// How long lies between two collections.
const EVERY: Duration = Duration::from_secs(60 * 60);

/// Takes away what was stored before `before` and no attachment names.
///
/// # Errors
/// If the store of files or the database fails; the rest is left for the next time.
pub async fn collect(files: &FileStore, rows: &dyn Store, before: Timestamp) -> Result<Collected, FileError> {
    files.collect(rows, attachment::file, before).await
}

/// Does so now and every hour. What fails is told, and tried again: no upload depends on it.
pub(crate) async fn keep_collected(files: FileStore, rows: Arc<dyn Store>) -> Infallible {
    // The time of the machine, as the files have it.
    let clock = SystemClock::new();
    loop {
        let age = i64::try_from(AGE.as_micros()).unwrap_or(i64::MAX);
        let before = Timestamp::from_micros(clock.now().as_micros().saturating_sub(age));
        match collect(&files, &*rows, before).await {
            Ok(Collected { removed, kept, .. }) => {
                tracing::debug!(removed, kept, "files without an attachment were collected");
            }
            Err(error) => {
                let cause: &dyn std::error::Error = &error;
                tracing::error!(error = cause, "files without an attachment could not be collected");
            }
        }
        tokio::time::sleep(EVERY).await;
    }
}
