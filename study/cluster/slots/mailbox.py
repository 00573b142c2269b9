"""What a slot and its workers tell each other: an actor that imports nothing heavy, so that it starts soon."""

import asyncio


class Mailbox:
    """Jobs, numbered from 1 on, go from a slot to its workers, reports the other way. It ends with its slot."""

    def __init__(self):
        self.number, self.withdrawn, self.job = 0, 0, None
        self.changed, self.reports = asyncio.Condition(), asyncio.Queue()

    async def give(self, number: int, job: list | None) -> None:
        """The next job, a reference in a list, which is not opened here; None sends the workers home."""
        async with self.changed:
            self.number, self.job = number, job
            self.changed.notify_all()

    async def take(self, after: int) -> tuple[int, list | None]:
        """The newest job after number `after` that is not withdrawn, and its number; waits for it."""
        async with self.changed:
            await self.changed.wait_for(lambda: self.number > max(after, self.withdrawn))
            return self.number, self.job

    async def withdraw(self, number: int) -> None:
        """Whoever works at this job shall leave it."""
        async with self.changed:
            self.withdrawn = number
            self.changed.notify_all()

    async def is_withdrawn(self, number: int) -> bool:
        """Waits until it is known: True once this job is withdrawn, False once a later one is given instead."""
        async with self.changed:
            await self.changed.wait_for(lambda: self.withdrawn >= number or self.number > number)
            return self.withdrawn >= number

    async def put(self, report: dict) -> None:
        await self.reports.put(report)

    async def get(self) -> dict:
        return await self.reports.get()
