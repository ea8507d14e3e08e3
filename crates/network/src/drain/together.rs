//! [`Together`]: one answer for all who ask at the same time.
use std::sync::Arc;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// Shares a costly look at the world. Whoever asks gets what was seen by a look that began after it asked: so of any number who ask
/// while a look is under way, one makes the next, and the others wait for that.
#[derive(Debug)]
pub struct Together<T> {
    /// The last look, and when it began.
    last: Mutex<Option<(Instant, Arc<T>)>>,
}

impl<T> Default for Together<T> {
    fn default() -> Self {
        Self { last: Mutex::new(None) }
    }
}

impl<T> Together<T> {
    /// An error is that of the own look; the others look again.
    pub async fn ask<E>(&self, look: impl AsyncFnOnce() -> Result<T, E>) -> Result<Arc<T>, E> {
        let asked = Instant::now();
        let mut last = self.last.lock().await;
        if let Some((began, seen)) = &*last
            && *began > asked
        {
            return Ok(Arc::clone(seen));
        }
        let began = Instant::now();
        let seen = Arc::new(look().await?);
        *last = Some((began, Arc::clone(&seen)));
        Ok(seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn nobody_gets_what_was_seen_before_it_asked() {
        let (together, looks) = (Together::default(), AtomicUsize::new(0));
        let asking = |after: u64| {
            let (together, looks) = (&together, &looks);
            async move {
                tokio::time::sleep(Duration::from_millis(after)).await;
                let asked = Instant::now();
                let began = together.ask(async || {
                    looks.fetch_add(1, Ordering::Relaxed);
                    let began = Instant::now();
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    Ok::<_, ()>(began)
                });
                let began = *began.await.unwrap();
                assert!(began >= asked, "asked at {after} ms");
                began
            }
        };
        // The first looks from 1 to 11 ms; those of 2 to 9 share the next, from 11 to 21; the one of 12 comes third.
        let (a, b, c, d, e) = tokio::join!(asking(1), asking(2), asking(3), asking(9), asking(12));
        assert_eq!(looks.load(Ordering::Relaxed), 3);
        assert!(a < b && b == c && c == d && d < e);
        assert!(together.ask(async || Err(7)).await.is_err_and(|e| e == 7), "what is long past is not given out");
    }
}
