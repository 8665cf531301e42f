from swaptable.designs._design import Design

class OldDesign(Design):
    def __init__(self, slots: int) -> None: ...
