"""The skin: as the CT shows it, and a tracked scan of it registered to that."""
