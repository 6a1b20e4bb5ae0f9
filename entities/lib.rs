//! sea-orm entities, without logic.
