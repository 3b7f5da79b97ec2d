-- When a leaf was last updated by a commit of its device, or came: who is idle for longer than the
-- room's policy allows is removed. Of leaves that were there before, the room's last entry counts.
ALTER TABLE room_members ADD COLUMN updated INTEGER NOT NULL DEFAULT 0;
ALTER TABLE room_members ADD COLUMN updated_epoch INTEGER NOT NULL DEFAULT 0;
UPDATE room_members SET
    updated = (SELECT time FROM rooms WHERE rooms.room = room_members.room),
    updated_epoch = (SELECT epoch FROM rooms WHERE rooms.room = room_members.room);
