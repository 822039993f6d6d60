//! The rule of pairing: what a channel is told of an alert, and when.
//!
//! This is the whole rule, for one alert and one channel. [`step`] says what follows from
//! what the channel has been told and what it may see now. The four functions after it
//! say what follows from what becomes of a delivery. Nothing else changes a [`Told`].
//!
//! In any order of looks, kills and failures, a channel then gets a recovery exactly
//! where the firing was sent or tried, never before the firing, and no second firing
//! before the recovery.

use crate::alert::{DeliveryRef, Told};
use crate::news::News;

/// What a channel may see of an alert now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sight {
    /// It fires, and the channel may be told.
    Fires,
    /// It fires, and the channel is not to be told yet: an alert that says more, a server
    /// that has just started, a channel that is switched off.
    FiresHeld,
    /// It fires, and people do not want the channel to be told now: a mute, quiet hours,
    /// too little severity, an acknowledgement before the escalation.
    FiresUnwanted,
    /// It is over, or so for the channel that its rule does not name any more, and the
    /// channel may be told.
    Over,
    /// It is over, and the channel is not to be told now.
    OverHeld,
    /// It is told once and has no end, and the channel may be told.
    Once,
    /// It is told once and has no end, and the channel is to be told later.
    OnceHeld,
    /// It is told once and has no end, and nobody wants the channel to be told.
    OnceUnwanted,
}

/// Whether what has begun and ended before anybody could be told is worth a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Worth {
    /// It was critical, or it was long.
    Telling,
    /// It was neither, or fires on for others.
    Nothing,
}

/// What is to be done for a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing.
    Stay,
    /// This is to be told by a new message.
    Tell(News),
    /// The waiting firing becomes a message about both beginning and end.
    Shorten,
    /// The waiting firing is taken out of its message, and told later.
    TakeBack,
    /// The waiting firing is taken out of its message for good.
    TakeOut,
    /// There is nothing more to tell.
    Close,
}

/// What is to be done for a channel that has been `told` so much and sees this.
#[rustfmt::skip]
pub(crate) fn step(told: &Told, sight: Sight, worth: Worth) -> Step {
    use Sight::{
        Fires, FiresHeld, FiresUnwanted, Once, OnceHeld, OnceUnwanted, Over, OverHeld,
    };
    use Step::{Close, Shorten, Stay, TakeBack, TakeOut, Tell};

    let (fire, recover) = (Tell(News::Firing), Tell(News::Resolved));
    match (told, sight) {
        (Told::Untold,         Fires | Once)                                 => fire,
        (Told::Untold,         FiresHeld | FiresUnwanted | OnceHeld)         => Stay,
        (Told::Untold,         Over | OverHeld | OnceUnwanted)               => Close,

        // What fires waits on behind what says more: it was there before. What is told
        // once loses nothing by coming later.
        (Told::Waiting { .. }, Fires | FiresHeld | Once)                     => Stay,
        (Told::Waiting { .. }, FiresUnwanted | OnceHeld)                     => TakeBack,
        (Told::Waiting { .. }, OnceUnwanted)                                 => TakeOut,
        (Told::Waiting { .. }, Over | OverHeld) => match worth {
            Worth::Telling => Shorten,
            Worth::Nothing => TakeOut,
        },

        // A hold that begins after the firing was tried holds no recovery back, but for
        // the channel's own quiet hours and a group's end that is about to be told.
        (Told::Told { .. },    Over)                                         => recover,
        (Told::Told { .. },    Once | OnceHeld | OnceUnwanted)               => Close,
        (Told::Told { .. },    Fires | FiresHeld | FiresUnwanted | OverHeld) => Stay,

        // Nobody knows of the firing: there is nothing to recover from.
        (Told::Dead { .. },    _)                                            => Stay,

        // The next step follows from what becomes of the delivery.
        (Told::Short { .. } | Told::Recovering { .. }, _)                    => Stay,

        // The rule did not name the channel for a while, and does again.
        (Told::Closed,         Fires)                                        => fire,
        (Told::Closed,         _)                                            => Stay,
    }
}

/// What a delivery that is tried for the first time says of an alert; `None` if nothing.
/// `item` is what it was queued for.
pub(crate) fn said(told: &Told, delivery: &str, item: News) -> Option<News> {
    match told {
        Told::Waiting { firing } if firing.id == delivery => Some(News::Firing),
        Told::Short { message } if message.id == delivery => Some(News::Short),
        Told::Recovering { recovery, .. } if recovery.id == delivery => {
            Some(News::Resolved)
        }
        Told::Told { firing } if firing.id != delivery => match item {
            News::Repeat | News::Flapping | News::Settled => Some(item),
            _ => None,
        },
        _ => None,
    }
}

/// What has been told when a delivery is tried for the first time: it may arrive.
#[must_use]
pub(crate) fn tried(told: Told, delivery: &str) -> Told {
    match told {
        Told::Waiting { firing } if firing.id == delivery => Told::Told { firing },
        Told::Short { message } if message.id == delivery => Told::Closed,
        Told::Recovering { recovery, .. } if recovery.id == delivery => Told::Closed,
        other => other,
    }
}

/// What has been told when a delivery is given up.
#[must_use]
pub(crate) fn died(told: Told, delivery: &str) -> Told {
    match told {
        Told::Waiting { firing }
        | Told::Told { firing }
        | Told::Recovering { firing, .. }
            if firing.id == delivery =>
        {
            Told::Dead { firing }
        }
        Told::Short { message } if message.id == delivery => Told::Closed,
        Told::Recovering { recovery, .. } if recovery.id == delivery => Told::Closed,
        other => other,
    }
}

/// What has been told when somebody has a dead delivery tried again.
#[must_use]
pub(crate) fn revived(told: Told, delivery: &str) -> Told {
    match told {
        Told::Dead { firing } if firing.id == delivery => Told::Told { firing },
        other => other,
    }
}

/// What has been told when a delivery was never written, because of a kill in between.
#[must_use]
pub(crate) fn lost(told: Told, delivery: &str) -> Told {
    match told {
        Told::Waiting {
            firing: DeliveryRef { id, .. },
        }
        | Told::Short {
            message: DeliveryRef { id, .. },
        } if id == delivery => Told::Untold,
        Told::Recovering { firing, recovery } if recovery.id == delivery => {
            Told::Told { firing }
        }
        other => other,
    }
}

/// What has been told when a message with these news was queued.
#[must_use]
pub(crate) fn queued(told: Told, news: News, delivery: DeliveryRef) -> Told {
    match (news, told) {
        (News::Firing, _) => Told::Waiting { firing: delivery },
        (News::Resolved, Told::Told { firing }) => Told::Recovering {
            firing,
            recovery: delivery,
        },
        (_, told) => told,
    }
}

/// What has been told when a step was done that needs no new message.
#[must_use]
pub(crate) fn done(told: Told, step: Step) -> Told {
    match (step, told) {
        (Step::Shorten, Told::Waiting { firing }) => Told::Short { message: firing },
        (Step::TakeBack, Told::Waiting { .. }) => Told::Untold,
        (Step::TakeOut | Step::Close, _) => Told::Closed,
        (_, told) => told,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIGHTS: [Sight; 8] = [
        Sight::Fires,
        Sight::FiresHeld,
        Sight::FiresUnwanted,
        Sight::Over,
        Sight::OverHeld,
        Sight::Once,
        Sight::OnceHeld,
        Sight::OnceUnwanted,
    ];

    fn delivery(id: &str) -> DeliveryRef {
        DeliveryRef {
            id: id.to_owned(),
            number: 1,
        }
    }

    /// Every `Told`: the firing is in `f`, what comes after it in `r`.
    fn all() -> [Told; 7] {
        let firing = || delivery("f");
        [
            Told::Untold,
            Told::Waiting { firing: firing() },
            Told::Told { firing: firing() },
            Told::Dead { firing: firing() },
            Told::Short { message: firing() },
            Told::Recovering {
                firing: firing(),
                recovery: delivery("r"),
            },
            Told::Closed,
        ]
    }

    /// The whole table: a line for each `Told`, a step for each sight.
    #[test]
    fn each_sight_has_its_step() {
        use Step::{Close, Shorten, Stay, TakeBack, TakeOut, Tell};
        let (fire, recover) = (Tell(News::Firing), Tell(News::Resolved));
        #[rustfmt::skip]
        let table = [
            // Fires, Held, Unwanted, Over,    Held,    Once,  Held,     Unwanted
            [fire,    Stay, Stay,     Close,   Close,   fire,  Stay,     Close],
            [Stay,    Stay, TakeBack, Shorten, Shorten, Stay,  TakeBack, TakeOut],
            [Stay,    Stay, Stay,     recover, Stay,    Close, Close,    Close],
            [Stay,    Stay, Stay,     Stay,    Stay,    Stay,  Stay,     Stay],
            [Stay,    Stay, Stay,     Stay,    Stay,    Stay,  Stay,     Stay],
            [Stay,    Stay, Stay,     Stay,    Stay,    Stay,  Stay,     Stay],
            [fire,    Stay, Stay,     Stay,    Stay,    Stay,  Stay,     Stay],
        ];
        for (told, steps) in all().iter().zip(table) {
            for (sight, expected) in SIGHTS.into_iter().zip(steps) {
                let found = step(told, sight, Worth::Telling);
                assert_eq!(found, expected, "{told:?}, {sight:?}");

                let plain = step(told, sight, Worth::Nothing);
                let expected = if expected == Shorten {
                    TakeOut
                } else {
                    expected
                };
                assert_eq!(plain, expected, "{told:?}, {sight:?}");
            }
        }
    }

    #[test]
    fn each_step_without_a_message_has_its_consequence() {
        let [untold, waiting, told, _, short, _, closed] = all();
        for (before, step, expected) in [
            (&untold, Step::Stay, &untold),
            (&untold, Step::Close, &closed),
            (&waiting, Step::Shorten, &short),
            (&waiting, Step::TakeBack, &untold),
            (&waiting, Step::TakeOut, &closed),
            (&told, Step::Close, &closed),
        ] {
            assert_eq!(
                done(before.clone(), step),
                *expected,
                "{before:?}, {step:?}"
            );
        }
    }

    /// A line for each `Told`: what it is when `f` or `r` is tried, dies, comes back to
    /// life, or was never written.
    #[test]
    fn each_fate_of_a_delivery_has_its_consequence() {
        let [untold, waiting, told, dead, short, recovering, closed] = all();
        #[rustfmt::skip]
        let table = [
            // f tried  r tried      f died   r died       f back  f lost       r lost
            (&untold,     [&untold, &untold,     &untold, &untold,     &untold, &untold,     &untold]),
            (&waiting,    [&told,   &waiting,    &dead,   &waiting,    &waiting, &untold,    &waiting]),
            (&told,       [&told,   &told,       &dead,   &told,       &told,   &told,       &told]),
            (&dead,       [&dead,   &dead,       &dead,   &dead,       &told,   &dead,       &dead]),
            (&short,      [&closed, &short,      &closed, &short,      &short,  &untold,     &short]),
            (&recovering, [&recovering, &closed, &dead,   &closed,     &recovering, &recovering, &told]),
            (&closed,     [&closed, &closed,     &closed, &closed,     &closed, &closed,     &closed]),
        ];
        for (before, after) in table {
            let found = [
                tried(before.clone(), "f"),
                tried(before.clone(), "r"),
                died(before.clone(), "f"),
                died(before.clone(), "r"),
                revived(before.clone(), "f"),
                lost(before.clone(), "f"),
                lost(before.clone(), "r"),
            ];
            assert_eq!(found.each_ref(), after, "{before:?}");
        }
    }

    #[test]
    fn a_delivery_says_what_still_holds() {
        let [untold, waiting, told, dead, short, recovering, closed] = all();
        for (told, delivery, item, expected) in [
            (&untold, "f", News::Firing, None),
            (&waiting, "f", News::Firing, Some(News::Firing)),
            (&waiting, "other", News::Firing, None),
            (&told, "f", News::Firing, None),
            (&told, "other", News::Repeat, Some(News::Repeat)),
            (&told, "other", News::Resolved, None),
            (&dead, "other", News::Repeat, None),
            (&short, "f", News::Firing, Some(News::Short)),
            (&recovering, "r", News::Resolved, Some(News::Resolved)),
            (&recovering, "other", News::Repeat, None),
            (&closed, "f", News::Firing, None),
        ] {
            assert_eq!(said(told, delivery, item), expected, "{told:?}, {delivery}");
        }
    }
}
