//! S3 nothing-lost: a change that was acknowledged is in the database, whatever happened since.

use crate::world::World;

impl World {
    pub(crate) fn check_durable(&self) {
        for (stream, spec) in self.user.acknowledged() {
            let stored = self.database.streams().get(stream);
            assert!(
                stored == spec,
                "S3 nothing-lost: {stream} was acknowledged as {spec:?} and is {stored:?}"
            );
        }
    }
}
